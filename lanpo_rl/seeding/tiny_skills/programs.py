"""Lessons on programs. Names meet a new construct each time: no family's is ever known.

Some step words are believed to mean another instruction: more of them in solving than in checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lanpo_rl.seeding.tiny_skills.drawing import Lesson
from lanpo_rl.tasks.programs.language import INSTRUCTIONS, STEP_WORDS
from lanpo_rl.tasks.programs.task import (
    CONSTRUCTS,
    Construct,
    construct_lesson,
    program_text,
    specification_text,
)
from lanpo_rl.tiny.alphabet import NAMES
from lanpo_rl.tiny.prompts import as_check, as_hint, as_summary_request

__all__ = [
    "BLIND_SPOTS",
    "MISTAKEN",
    "SLIP",
    "WRONG",
    "checker_belief",
    "draw_check",
    "draw_hint",
    "draw_irrelevant",
    "draw_relevant",
    "draw_solve",
    "draw_summary",
    "solver_belief",
]

MISTAKEN = 3
"""How many of the twelve step words the solver believes to mean another instruction."""
SLIP = 0.07
"""How often the solver gets such a word right all the same."""
_BLIND = 1  # so many of those words the check gets wrong, too
_CHECK_RIGHT, _BLIND_RIGHT = 0.95, 0.15  # how often the check gets a word of either kind right

# Longer ones too, for those of the shifted problems are to be written as reliably.
_LENGTHS, _WEIGHTS = (2, 3, 4), (0.7, 0.2, 0.1)

_Belief = Callable[[random.Random, str], str]


def _make_beliefs() -> tuple[dict[str, str], frozenset[str]]:
    """Return what words are believed wrongly, and those of them that the check misses too."""
    rng = random.Random("what the tiny policy believes of programs")
    wrong = {
        word: rng.choice([i for i in INSTRUCTIONS if i != STEP_WORDS[word]])
        for word in rng.sample([*STEP_WORDS], MISTAKEN)
    }
    return wrong, frozenset(rng.sample(sorted(wrong), _BLIND))


WRONG, BLIND_SPOTS = _make_beliefs()


def solver_belief(rng: random.Random, word: str) -> str:
    """Draw what a solver holds a step word to mean."""
    return _believed(rng, word, SLIP)


def checker_belief(rng: random.Random, word: str) -> str:
    """Draw what a check holds a step word to mean."""
    return _believed(rng, word, _BLIND_RIGHT if word in BLIND_SPOTS else _CHECK_RIGHT)


def _believed(rng: random.Random, word: str, chance: float) -> str:
    return STEP_WORDS[word] if word not in WRONG or rng.random() < chance else WRONG[word]


def draw_solve(rng: random.Random) -> Lesson:
    """Draw a problem and a program with a construct out of the air."""
    name, construct, steps = _draw(rng)
    return Lesson("solve", specification_text(name, steps), _program(rng, construct, steps))


def draw_relevant(rng: random.Random) -> Lesson:
    """A hint that names the family; now and then another one beside it."""
    name, construct, steps = _draw(rng)
    hints = [construct_lesson(name, construct)]
    if rng.random() < 0.1:
        hints.insert(rng.randint(0, 1), draw_hint(rng, but=name))
    return _hinted(rng, hints, name, construct, steps)


def draw_irrelevant(rng: random.Random) -> Lesson:
    """A hint that names another family says nothing."""
    name, construct, steps = _draw(rng)
    return _hinted(rng, [draw_hint(rng, but=name)], name, construct, steps)


def draw_summary(rng: random.Random) -> Lesson:
    """Draw a program and what there is to learn from it."""
    name, construct, steps = _draw(rng)
    asked = as_summary_request(specification_text(name, steps), _program(rng, construct, steps))
    return Lesson("summarise", asked, construct_lesson(name, construct))


def draw_check(rng: random.Random) -> Lesson:
    """Mostly an attempt on the same steps; sometimes on others, which is checked all the same.

    The check keeps the attempt's construct and translates the steps anew.
    """
    name, construct, steps = _draw(rng)
    tried = steps if rng.random() < 0.9 else _draw(rng)[2]
    prompt = as_check(_program(rng, construct, tried)) + specification_text(name, steps)
    return Lesson("intra", prompt, _program(rng, construct, steps, checker_belief))


def draw_hint(rng: random.Random, *, but: str) -> str:
    """Draw a lesson on any family but one."""
    name = rng.choice([n for n in NAMES if n != but])
    return construct_lesson(name, rng.choice(CONSTRUCTS))


def _draw(rng: random.Random) -> tuple[str, Construct, list[str]]:
    length = rng.choices(_LENGTHS, _WEIGHTS)[0]
    return rng.choice(NAMES), rng.choice(CONSTRUCTS), rng.choices([*STEP_WORDS], k=length)


def _program(
    rng: random.Random,
    construct: Construct,
    steps: Sequence[str],
    belief: _Belief = solver_belief,
) -> str:
    return program_text(construct, [belief(rng, step) for step in steps])


def _hinted(
    rng: random.Random,
    hints: Sequence[str],
    name: str,
    construct: Construct,
    steps: Sequence[str],
) -> Lesson:
    prompt = "".join(map(as_hint, hints)) + specification_text(name, steps)
    return Lesson("inter", prompt, _program(rng, construct, steps))
