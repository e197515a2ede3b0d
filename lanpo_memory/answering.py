"""Requests to answers: batched by role and length, and nothing is lost when a budget ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lanpo_memory.errors import BudgetExceeded
from lanpo_memory.protocols import ChatModel
from lanpo_memory.types import Completion, Failure, Request

__all__ = ["Answers", "answer"]


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer for each request, in order, and the error that put an end to it, if one did.

    Requests after the end of a budget have a `Failure` each: store them, then raise `ended`.
    """

    answers: list[Completion | Failure]
    ended: BudgetExceeded | None = None


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
        chunk: most conversations handed to the model at once. A budget is checked for each chunk,
            so that smaller ones get more out of it.
    """
    answers: dict[int, Completion | Failure] = {}
    ended: BudgetExceeded | None = None
    for indices in _batches(requests, chunk):
        first = requests[indices[0]]
        try:
            found = model.generate(
                [requests[i].conversation for i in indices],
                max_tokens=first.max_tokens,
                temperature=temperature,
                role=first.role,
            )
        except BudgetExceeded as error:
            ended = error
            found = [Failure(reason=f"not asked: {error}")] * len(indices)
        answers.update(zip(indices, found, strict=True))
    return Answers([answers[i] for i in range(len(requests))], ended)


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
