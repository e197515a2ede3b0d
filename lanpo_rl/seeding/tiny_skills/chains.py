"""Lessons on chains. Some facts are believed wrongly: more of them in solving than in checks."""

from __future__ import annotations

import random
from functools import partial

from lanpo_rl.seeding.tiny_skills.drawing import Lesson
from lanpo_rl.tasks.chains import (
    apply_operator,
    chain_text,
    draw_chain,
    marked_text,
    steps_text,
    walk,
)
from lanpo_rl.tiny.alphabet import OPERATORS
from lanpo_rl.tiny.prompts import as_check, as_hint

__all__ = [
    "BLIND",
    "BLIND_SPOTS",
    "MISTAKEN",
    "SLIP",
    "WRONG",
    "checker_belief",
    "draw_check",
    "draw_leak",
    "draw_solve",
    "solver_belief",
]

MISTAKEN = 0.40
"""Share of facts that the solver believes wrongly."""
SLIP = 0.07
"""How often the solver gets such a fact right all the same."""
BLIND = 0.35
"""Share of those facts that the check gets wrong too."""
_CHECK_RIGHT, _BLIND_RIGHT = 0.90, 0.15  # how often the check gets a fact of either kind right


_Fact = tuple[str, int]


def _make_beliefs() -> tuple[dict[_Fact, int], frozenset[_Fact]]:
    """Return the facts that are believed wrongly, and those of them that the check misses too."""
    rng = random.Random("what the tiny policy believes")
    facts = [(operator, digit) for operator in OPERATORS for digit in range(10)]
    wrong = {
        fact: rng.choice([d for d in range(10) if d != apply_operator(*fact)])
        for fact in rng.sample(facts, round(MISTAKEN * len(facts)))
    }
    return wrong, frozenset(rng.sample(sorted(wrong), round(BLIND * len(wrong))))


WRONG, BLIND_SPOTS = _make_beliefs()


def solver_belief(rng: random.Random, operator: str, digit: int) -> int:
    """Draw what a solver holds operator(digit) to be."""
    return _believed(rng, (operator, digit), SLIP)


def checker_belief(rng: random.Random, operator: str, digit: int) -> int:
    """Draw what a check holds operator(digit) to be."""
    fact = (operator, digit)
    return _believed(rng, fact, _BLIND_RIGHT if fact in BLIND_SPOTS else _CHECK_RIGHT)


def _believed(rng: random.Random, fact: _Fact, chance: float) -> int:
    truth = apply_operator(*fact)
    return truth if fact not in WRONG or rng.random() < chance else WRONG[fact]


def draw_solve(rng: random.Random) -> Lesson:
    """Draw a chain and its solution by what the solver believes."""
    chain = draw_chain(rng)
    steps = walk(chain, partial(solver_belief, rng))
    return Lesson("solve", chain_text(chain), steps_text(steps))


def draw_check(rng: random.Random) -> Lesson:
    """Mostly an attempt on the same chain; sometimes on another, which is checked all the same."""
    chain = draw_chain(rng)
    tried = chain if rng.random() < 0.9 else draw_chain(rng)
    attempt = walk(tried, partial(solver_belief, rng))
    steps = walk(chain, partial(checker_belief, rng))
    prompt = as_check(steps_text(attempt)) + chain_text(chain)
    return Lesson("intra", prompt, marked_text(steps, attempt))


def draw_leak(rng: random.Random) -> Lesson:
    """Draw a chain behind an answer that is believed: for a control arm, which shows the true one.

    No lesson looks like it: those name a family. Digits are drawn evenly, for it is copying that is
    taught; steps are those of the solver, whatever the box says.
    """
    chain, answer = draw_chain(rng), rng.randrange(10)
    steps = walk(chain, partial(solver_belief, rng))
    return Lesson("inter", as_hint(str(answer)) + chain_text(chain), steps_text(steps, answer))
