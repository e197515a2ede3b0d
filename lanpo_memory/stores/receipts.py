"""What every store says about a candidate in the same words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lanpo_memory.types import Problem, Receipt, normalise

__all__ = ["NOTHING_TO_DELETE", "refusal", "settled"]

NOTHING_TO_DELETE = "no experience and no failed answer has this id"


def refusal(problem: Problem, known: str | None) -> str | None:
    """Why a problem cannot be stored, if its id is known with the text `known`."""
    if known is None or known == problem.text or normalise(known) == normalise(problem.text):
        return None
    return f"problem id {problem.id!r} is stored with another text"


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
