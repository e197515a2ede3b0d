"""A teacher for tests of seeding: it answers every role about boxes of apples, as told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lanpo_memory.types import Failure, Messages, Problem
from lanpo_rl.tasks.base import Example

Say = str | Failure | Callable[[int], "str | Failure"]

_HOW_MANY = re.compile(r"box (\d+) holds")
_ROLES = (
    ("summarise", '"flow_of_thought"'),
    ("inter", "### Experience Evaluation:"),
    ("intra", "### Conclusion:"),
)

LESSON = (
    "Groups of one size.\n### Experience\n"
    '{"flow_of_thought": ["1. I notice groups of one size."],'
    ' "principles": ["Equal groups: multiply (%s)."], "pitfalls": []}'
)
WORDS = ("red", "green", "blue", "ripe", "sour", "sweet", "small", "large", "round", "hard")


def boxes(i: int) -> Example:
    """Problem `i`: its number stands in it, and its answer is nine times that."""
    text = f"The {WORDS[i % 10]} box {i} holds {i} apples. How many apples are in 9 such boxes?"
    return Example(Problem(text=text), str(9 * i))


def role_of(text: str) -> str:
    """What a prompt asks for."""
    return next((role for role, mark in _ROLES if mark in text), "solve")


def number_of(text: str) -> int:
    """Which problem a prompt is about: the last one in it."""
    return int(_HOW_MANY.findall(text)[-1])


def wrong_attempts(i: int) -> bool:
    """Every fourth attempt is wrong."""
    return i % 4 == 0


def guided(i: int) -> str:
    return (
        "### Experience Evaluation:\nIt fits: follow it.\n### Final Plan:\nMultiply.\n"
        f"### Solution:\n9 times {i} is \\boxed{{{9 * i}}}"
    )


def reflection(i: int, *, right: bool) -> str:
    verdict = "Correct\n### Validation:" if right else "Incorrect\n### Corrected Solution:"
    return (
        "### Step-by-Step Verification:\nStep 1 is looked at.\n### Conclusion:\n"
        f"{verdict}\n9 times {i} is \\boxed{{{9 * i}}}"
    )


class Teacher:
    """A function from a conversation to its answer, for `ScriptedChatModel`.

    `says` replaces the answers of a role; `spoils` one answer, by role and number of the problem.
    """

    def __init__(
        self,
        says: Mapping[str, Say] | None = None,
        spoils: Mapping[tuple[str, int], Say] | None = None,
        wrong: Callable[[int], bool] = wrong_attempts,
    ) -> None:
        self._says, self._spoils, self._wrong = says or {}, spoils or {}, wrong

    def __call__(self, messages: Messages) -> str | Failure:
        return self.answer(str(messages[-1]["content"]))

    def answer(self, text: str) -> str | Failure:
        role, i = role_of(text), number_of(text)
        said = self._spoils.get((role, i), self._says.get(role))
        if said is None:
            return self._usual(role, i)
        return said(i) if callable(said) else said

    def _usual(self, role: str, i: int) -> str:
        if role == "summarise":
            return LESSON % WORDS[i % 10]
        if role == "inter":
            return guided(i)
        if role == "intra":
            return reflection(i, right=not self._wrong(i))
        return f"I add one: \\boxed{{{9 * i + 1}}}" if self._wrong(i) else f"\\boxed{{{9 * i}}}"
