"""Lessons on hidden constants. Names meet a new constant each time: no family's is ever known."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lanpo_rl.seeding.tiny_skills.drawing import Lesson
from lanpo_rl.tasks.hidden_constants import lesson_text, problem_text, solution_text
from lanpo_rl.tiny.alphabet import CONSTANTS, NAMES
from lanpo_rl.tiny.prompts import as_hint, as_summary_request

__all__ = ["draw_hint", "draw_irrelevant", "draw_relevant", "draw_solve", "draw_summary"]


def draw_solve(rng: random.Random) -> Lesson:
    """Draw a problem and a solution with a constant out of the air."""
    name, a, b, constant = _draw_sum(rng)
    text = problem_text(name, a, b)
    return Lesson("solve", text, solution_text(a, b, constant))


def draw_relevant(rng: random.Random) -> Lesson:
    """A hint that names the family; now and then another one beside it."""
    name, a, b, constant = _draw_sum(rng)
    hints = [lesson_text(name, constant)]
    if rng.random() < 0.1:
        hints.insert(rng.randint(0, 1), draw_hint(rng, but=name))
    return _hinted(hints, name, a, b, constant)


def draw_irrelevant(rng: random.Random) -> Lesson:
    """A hint that names another family says nothing."""
    name, a, b, constant = _draw_sum(rng)
    return _hinted([draw_hint(rng, but=name)], name, a, b, constant)


def draw_summary(rng: random.Random) -> Lesson:
    """Draw a solution and what there is to learn from it."""
    name, a, b, constant = _draw_sum(rng)
    problem = problem_text(name, a, b)
    asked = as_summary_request(problem, solution_text(a, b, constant))
    return Lesson("summarise", asked, lesson_text(name, constant))


def _draw_sum(rng: random.Random) -> tuple[str, int, int, int]:
    return rng.choice(NAMES), rng.randrange(10), rng.randrange(10), rng.randrange(CONSTANTS)


def draw_hint(rng: random.Random, *, but: str) -> str:
    """Draw a lesson on any family but one."""
    name = rng.choice([n for n in NAMES if n != but])
    return lesson_text(name, rng.randrange(CONSTANTS))


def _hinted(hints: Sequence[str], name: str, a: int, b: int, constant: int) -> Lesson:
    prompt = "".join(map(as_hint, hints)) + problem_text(name, a, b)
    return Lesson("inter", prompt, solution_text(a, b, constant))
