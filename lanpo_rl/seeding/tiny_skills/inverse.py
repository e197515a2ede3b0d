"""Lessons on inverse problems: a guess out of the air, and its correction by what it arrived at."""

from __future__ import annotations

import random

from lanpo_rl.seeding.tiny_skills.drawing import Lesson
from lanpo_rl.tasks.inverse import (
    Equation,
    Guess,
    attempt_text,
    check_text,
    draw_equation,
    equation_text,
    solution_of,
)
from lanpo_rl.tiny.prompts import as_check

__all__ = ["FOREIGN", "draw_check", "draw_solve"]

FOREIGN = 0.3
"""Share of the checks whose attempt is on another problem. Only they tell a policy that corrects by
what the attempt arrived at from one that finds x on its own account."""

# Longer ones too, for the walk of the shifted problems is to be written as reliably.
_LENGTHS, _WEIGHTS = (2, 3, 4, 5), (0.3, 0.4, 0.15, 0.15)


# Of two digits drawn evenly neither tells anything about their difference alone: such facts are
# learned late and all at once. Small digits drawn more often give a first hold.
_SKEW = [1 / (1 + digit) for digit in range(10)]


def draw_solve(rng: random.Random) -> Lesson:
    """Draw an equation and an attempt: f is evaluated rightly, the start is any digit."""
    equation = _draw(rng)
    return Lesson(
        "solve", equation_text(equation), attempt_text(equation.operators, rng.randrange(10))
    )


def draw_check(rng: random.Random) -> Lesson:
    """Draw the check of an attempt, which is believed whatever problem it was on."""
    operators = _draw(rng).operators
    tried = _draw(rng).operators if rng.random() < FOREIGN else operators
    result, missing = rng.choices(range(10), _SKEW, k=2)
    start = solution_of(Equation(tried, result))
    equation = Equation(operators, (result + missing) % 10)
    prompt = as_check(attempt_text(tried, start)) + equation_text(equation)
    return Lesson("intra", prompt, check_text(equation, Guess(start, result)))


def _draw(rng: random.Random) -> Equation:
    return draw_equation(rng, rng.choices(_LENGTHS, _WEIGHTS)[0])
