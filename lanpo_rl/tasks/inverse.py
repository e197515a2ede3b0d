r"""Inverse problems: find x with f(x) = y. Checking a candidate is easy, finding one is not.

``?+3-4+8=6`` asks which digit becomes 6, modulo 10. Such an f moves every digit by one and the same
amount, which is what it makes of 0. ``+3:3-4:9+8:7 4:1\boxed{4}`` writes f out from 0, then a guess
with what f makes of it. Its check ``1 6:5 9|+3:3-4:9+8:7 9:6\boxed{9}`` says before anything else
that it arrived at 1, 6 is wanted, 5 is missing, so that 9 should do. None of this can be known
without the attempt: another problem's leads astray.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Attempt, GuidanceKind, Problem
from lanpo_rl.tasks.base import Example, Level, Task, check_level
from lanpo_rl.tasks.chains import walk
from lanpo_rl.tiny.alphabet import BOX, OPERATORS, boxed_answer
from lanpo_rl.tiny.prompts import TinyPrompts, as_check

__all__ = [
    "LENGTHS",
    "SHIFTS",
    "Equation",
    "Guess",
    "InversePrompts",
    "attempt_text",
    "check_text",
    "corrected",
    "draw_equation",
    "equation_text",
    "make_inverse",
    "read_guess",
    "solution_of",
    "value_at",
]

SHIFTS: tuple[str, ...] = tuple(op for op in OPERATORS if op[0] in "+-")
"""The operators that f is made of: each moves all digits by the same amount."""
LENGTHS: dict[Level, int] = {"easy": 2, "normal": 3, "hard": 4}
"""Operators of f by level of difficulty."""

_LONGER = 2  # operators that the shifted problems have more
_HEAD = re.compile(r"\d \d:(\d) \d\|")
_GUESS = re.compile(r" (\d):(\d)\\boxed\{(\d)\}")


class Equation(NamedTuple):
    """f(x) = y: the operators of f, first to last, and y."""

    operators: tuple[str, ...]
    wanted: int


class Guess(NamedTuple):
    """A guess at x, and what the attempt arrived at with it, rightly or not."""

    start: int
    result: int


def value_at(operators: tuple[str, ...], digit: int) -> int:
    """Return f(digit).

    >>> value_at(("+3", "-4", "+8"), 4)
    1
    """
    return walk((digit, operators))[-1][1]


def solution_of(equation: Equation) -> int:
    """Return the only x with f(x) = y.

    >>> solution_of(Equation(("+3", "-4", "+8"), 6))
    9
    """
    return corrected(Guess(0, value_at(equation.operators, 0)), equation.wanted)


def corrected(guess: Guess, wanted: int) -> int:
    """Return the start that arrives at `wanted`, if the guess arrived at its result.

    >>> corrected(Guess(4, 1), 6)
    9
    """
    return (guess.start + wanted - guess.result) % 10


def draw_equation(rng: random.Random, length: int = LENGTHS["normal"]) -> Equation:
    """Draw an equation with `length` operators."""
    return Equation(tuple(rng.choices(SHIFTS, k=length)), rng.randrange(10))


def equation_text(equation: Equation) -> str:
    """Return an equation as a problem's text.

    >>> equation_text(Equation(("+3", "-4"), 6))
    '?+3-4=6'
    """
    return f"?{''.join(equation.operators)}={equation.wanted}"


def attempt_text(operators: tuple[str, ...], start: int) -> str:
    r"""Return an attempt that evaluates f rightly.

    >>> attempt_text(("+3", "-4"), 4)
    '+3:3-4:9 4:3\\boxed{4}'
    """
    written = "".join(f"{operator}:{digit}" for operator, digit in walk((0, operators)))
    return f"{written} {start}:{value_at(operators, start)}{BOX}{start}}}"


def check_text(equation: Equation, guess: Guess) -> str:
    r"""Return the check of a guess: what is missing, what to try now, and the attempt at it.

    >>> check_text(Equation(("+3", "-4"), 6), Guess(4, 3))
    '3 6:3 7|+3:3-4:9 7:6\\boxed{7}'
    """
    start = corrected(guess, equation.wanted)
    missing = (equation.wanted - guess.result) % 10
    head = f"{guess.result} {equation.wanted}:{missing} {start}|"
    return f"{head}{attempt_text(equation.operators, start)}"


def read_guess(attempt: str) -> Guess | None:
    r"""Return what an attempt guesses and arrives at; `None` if it is not of that form.

    >>> read_guess(r"+3:3-4:9 4:3\boxed{4}")
    Guess(start=4, result=3)
    """
    match = _GUESS.search(attempt)
    if match is None or match[1] != match[3]:
        return None
    return Guess(int(match[1]), int(match[2]))


class InversePrompts(TinyPrompts):
    r"""The prompts of the tiny policy; the head of a check counts as its marks.

    >>> prompts = InversePrompts()
    >>> prompts.solution("intra", r"3 6:3 7|+3:3-4:9 7:6\boxed{7}")
    '+3:3-4:9 7:6\\boxed{7}'
    >>> [prompts.verdict(text) for text in ("3 6:3 7|+3:3", "6 6:0 7|+3:3", "+3:3")]
    [False, True, None]
    """

    def intra(self, attempt: Attempt) -> str:
        """Return the attempt behind the word ``check``, without the head it has as a check."""
        return as_check(_bare(attempt.text))

    def solution(self, kind: GuidanceKind, completion: str) -> str | None:
        """Return the completion, without its head if it is a check; `None` without an answer."""
        if boxed_answer(completion) is None:
            return None
        return _bare(completion) if kind == "intra" else completion

    def verdict(self, completion: str) -> bool | None:
        """Return whether a check found nothing missing; `None` where there is no head."""
        match = _HEAD.match(completion)
        return None if match is None else match[1] == "0"


def _bare(text: str) -> str:
    return _HEAD.sub("", text)


def make_inverse(
    seed: int = 0,
    *,
    train_size: int = 300,
    held_out_size: int = 300,
    shifted_size: int = 200,
    level: Level = "normal",
) -> Task:
    """Make the task: distinct equations, drawn from the seed.

    Every problem has one answer, and no digit is the answer of more problems than another but by
    chance. The shifted problems have two operators more.

    Args:
        seed: of everything.
        train_size: equations to train on.
        held_out_size: equations to measure on.
        shifted_size: longer equations to measure on.
        level: of difficulty: 2, 3 or 4 operators.

    Raises:
        ConfigError: there are not comfortably enough equations of that length.
    """
    check_level(level)
    length, size = LENGTHS[level], train_size + held_out_size
    if size > 0.8 * 10 * len(SHIFTS) ** length:
        raise ConfigError(f"too few equations of {length} operators for {size} distinct problems")
    examples = _draw(f"inverse {seed}", length, size)
    return Task(
        "inverse",
        train=examples[:train_size],
        held_out=examples[train_size:],
        shifted=_draw(f"inverse {seed} shifted", length + _LONGER, shifted_size),
        prompts=InversePrompts(),
    )


def _draw(seed: str, length: int, size: int) -> tuple[Example, ...]:
    rng = random.Random(seed)
    drawn: dict[Equation, Example] = {}
    while len(drawn) < size:
        equation = draw_equation(rng, length)
        drawn.setdefault(equation, _example(equation))
    return tuple(drawn.values())


def _example(equation: Equation) -> Example:
    problem = Problem(text=equation_text(equation), family="inverse")
    return Example(problem, str(solution_of(equation)))
