"""Requests to answers: batched by role and length, and nothing is lost when a budget ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lanpo_memory.errors import BudgetExceeded
from lanpo_memory.protocols import ChatModel
from lanpo_memory.types import Completion, Failure, Request

__all__ = ["NOT_ASKED", "Answers", "answer", "within_budget"]

NOT_ASKED = "not asked:"
"""How the reason begins where a budget ended before the question was put."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer for each request, in order, and the error that put an end to it, if one did.

    Requests after the end of a budget have a `Failure` each: store them, then raise `ended`.
    """

    answers: list[Completion | Failure]
    ended: BudgetExceeded | None = None


def within_budget(
    items: Sequence[Item], ask: Callable[[Sequence[Item]], Sequence[Result]]
) -> tuple[list[Result], BudgetExceeded | None]:
    """Ask about as many items as a budget allows, in order; return the error that ended it.

    A batch that is refused is halved until a single item is: the budget is used to the last call.

    Args:
        items: what there is to ask about.
        ask: one result for each item; a `BudgetExceeded` means that nothing was asked.

    >>> def thrifty(numbers: Sequence[int]) -> list[int]:
    ...     if sum(numbers) > 3:
    ...         raise BudgetExceeded("too much")
    ...     return [-n for n in numbers]
    >>> within_budget([1, 2, 0, 5, 1], thrifty)
    ([-1, -2, 0], BudgetExceeded('too much'))
    """
    results: list[Result] = []
    size = len(items)
    while len(results) < len(items):
        try:
            results += ask(items[len(results) : len(results) + size])
        except BudgetExceeded as error:
            if size == 1:
                return results, error
            size //= 2
    return results, None


def answer(
    model: ChatModel,
    requests: Sequence[Request],
    *,
    temperature: float = 0.0,
    chunk: int | None = None,
) -> Answers:
    """Let a model answer requests, those of one role and length limit together.

    Args:
        model: answers; where it is spread over processes, all of them call this alike.
        requests: what is to be answered.
        temperature: of the sampling; 0 is greedy.
        chunk: most conversations handed to the model at once.
    """
    answers: dict[int, Completion | Failure] = {}
    ended: BudgetExceeded | None = None
    for indices in _batches(requests, chunk):
        first = requests[indices[0]]

        def ask(some: Sequence[int], first: Request = first) -> list[Completion | Failure]:
            return model.generate(
                [requests[i].conversation for i in some],
                max_tokens=first.max_tokens,
                temperature=temperature,
                role=first.role,
            )

        found, refused = within_budget(indices, ask)
        ended = ended or refused
        left = len(indices) - len(found)
        answers.update(zip(indices, [*found, *[_not_asked(refused)] * left], strict=True))
    return Answers([answers[i] for i in range(len(requests))], ended)


def _not_asked(refused: BudgetExceeded | None) -> Failure:
    return Failure(reason=f"{NOT_ASKED} {refused}")


def _batches(requests: Sequence[Request], chunk: int | None) -> list[list[int]]:
    """Indices of what may be answered together, in order of first appearance."""
    alike: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for i, request in enumerate(requests):
        alike[request.role, request.max_tokens].append(i)
    return [
        indices[start : start + (chunk or len(indices))]
        for indices in alike.values()
        for start in range(0, len(indices), chunk or len(indices))
    ]
