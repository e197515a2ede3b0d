"""What every store decides about a candidate, in the same way and the same words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Experience, Problem, Receipt, normalise

__all__ = ["NOTHING_TO_DELETE", "least_worth", "refusal", "settled", "unknown_kind", "verdict"]

NOTHING_TO_DELETE = "no experience and no failed answer has this id"

Row = tuple[int, str, int, str]
"""An experience as a database tells of it: number, id, number of its problem, lesson id."""


def refusal(problem: Problem, known: str | None) -> str | None:
    """Why a problem cannot be stored, if its id is known with the text `known`."""
    if known is None or known == problem.text or normalise(known) == normalise(problem.text):
        return None
    return f"problem id {problem.id!r} is stored with another text"


def verdict(
    experience: Experience, *, text: str | None, held: bool, of_step: int, per_step: int | None
) -> Receipt:
    """The receipt of an experience, before anything is evicted.

    Args:
        experience: the candidate.
        text: how its problem is stored, `None` if it is not.
        held: whether it is stored already.
        of_step: how many experiences its problem holds of the same training step.
        per_step: how many it may hold.
    """
    reason = refusal(experience.problem, text)
    if reason is None and held:
        return Receipt(status="duplicate", id=experience.id)
    if reason is None and per_step is not None and of_step >= per_step:
        reason = f"the problem has {per_step} new experiences of this step already"
    if reason is not None:
        return Receipt(status="rejected", id=experience.id, reason=reason)
    return Receipt._made(status="added", id=experience.id, reason="")


def least_worth(rows: Iterable[Row], worth: Callable[[str], float], limit: int) -> list[Row]:
    """What each problem has to let go: the least worth, the oldest of equals first.

    `rows` stand problem by problem; what is returned stands in the order it was written.
    """
    gone: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row[2]):
        held = sorted(group, key=lambda row: (worth(row[3]), row[0]))
        gone += held[: max(0, len(held) - limit)]
    return sorted(gone)


def settled(receipts: Sequence[Receipt], evicted: Collection[str]) -> list[Receipt]:
    """The receipts once eviction has had its say: what was added may be gone already."""
    if not evicted:
        return list(receipts)
    return [
        r._with(status="evicted", reason="pushed out by later ones of this batch")
        if r.status == "added" and r.id in evicted
        else r
        for r in receipts
    ]


def unknown_kind(kind: object) -> InvalidInputError:
    """What to raise for a kind of record that there is not."""
    return InvalidInputError(
        f"unknown kind {kind!r}; known: experience, attempt, exposure, failure, problem"
    )
