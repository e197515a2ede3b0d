"""The published model solutions of GSM8K: four rollouts a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanpo_memory.importers.fields import BadLineError, column, kind_of, text, truth
from lanpo_memory.types import Problem, Rollout

__all__ = ["GSM8K_POLICIES", "read_gsm8k"]

GSM8K_POLICIES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
"""The four models whose solutions the GSM8K authors published."""


def read_gsm8k(row: Mapping[str, Any]) -> tuple[Rollout, ...]:
    """Return the rollouts of a line, one for each model."""
    problem = Problem(text=text(row, "question"))
    return tuple(_rollout(problem, row, policy) for policy in GSM8K_POLICIES)


def _rollout(problem: Problem, row: Mapping[str, Any], policy: str) -> Rollout:
    cell = column(row, policy)
    if not isinstance(cell, dict):
        raise BadLineError(f"column {policy!r} is not an object but {kind_of(cell)}")
    try:
        correct = truth(cell, "is_correct")
        if correct is None:
            raise BadLineError("missing column 'is_correct'")
        completion = text(cell, "solution")
    except BadLineError as error:
        raise BadLineError(f"in {policy!r}: {error}") from None
    return Rollout(
        problem=problem,
        completion=completion,
        reward=float(correct),
        correct=correct,
        policy=policy,
        group=problem.id,
    )
