"""Lessons on inverse problems: a guess out of the air, and its correction by what it arrived at."""

from __future__ import annotations

import random

from lanpo_rl.seeding.tiny_skills.drawing import Lesson
from lanpo_rl.tasks.inverse import (
    SHIFTS,
    Equation,
    Guess,
    attempt_text,
    check_text,
    equation_text,
    solution_of,
)
from lanpo_rl.tiny.prompts import as_check

__all__ = ["FOREIGN", "draw_check", "draw_solve"]

FOREIGN = 0.3
"""Share of the checks whose attempt is on another problem. Only they tell a policy that corrects by
what the attempt arrived at from one that finds x on its own account."""

# Short ones teach the facts, long ones that the walk of a shifted problem is written as reliably.
_LENGTHS, _WEIGHTS = (1, 2, 3, 4, 5), (0.3, 0.3, 0.2, 0.1, 0.1)

# Of two digits drawn evenly neither alone tells anything about their sum: such facts are learned
# late and all at once. Where the first few are drawn more often there is a first hold.
_SKEW = [1 / (1 + digit) for digit in range(10)]


def draw_solve(rng: random.Random) -> Lesson:
    """Draw an equation and an attempt: f is evaluated rightly, the start is any digit."""
    equation = Equation(_draw_f(rng), rng.randrange(10))
    attempt = attempt_text(equation.operators, rng.randrange(10))
    return Lesson("solve", equation_text(equation), attempt)


def draw_check(rng: random.Random) -> Lesson:
    """Draw the check of an attempt, which is believed whatever problem it was on."""
    operators = _draw_f(rng)
    tried = _draw_f(rng) if rng.random() < FOREIGN else operators
    result, missing = rng.choices(range(10), _SKEW, k=2)
    start = solution_of(Equation(tried, result))
    equation = Equation(operators, (result + missing) % 10)
    prompt = as_check(attempt_text(tried, start)) + equation_text(equation)
    return Lesson("intra", prompt, check_text(equation, Guess(start, result)))


def _draw_f(rng: random.Random) -> tuple[str, ...]:
    length = rng.choices(_LENGTHS, _WEIGHTS)[0]
    return tuple(rng.choices(SHIFTS, _SKEW[: len(SHIFTS)], k=length))
