"""Reflection inside the rollout: the attempt is context, the policy verifies and corrects."""

from __future__ import annotations

from collections.abc import Sequence

from lanpo_memory.protocols import Prompts
from lanpo_memory.types import Attempt, Guidance

__all__ = ["InRolloutReflector"]


class InRolloutReflector:
    """Puts the earlier attempt in front of the problem; no extra model call is made.

    This is the paper's reward-agnostic reflection (arXiv 2510.16552): an `Attempt` has no reward
    and no verdict, so none can reach the prompt.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.types import Attempt, Problem
    >>> attempt = Attempt(problem=Problem(text="2 + 3?"), text="I say 6.")
    >>> guidance = InRolloutReflector(EnglishPrompts()).reflect([attempt])[0]
    >>> guidance.kind, "I say 6." in guidance.text
    ('intra', True)
    """

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts

    def reflect(self, attempts: Sequence[Attempt]) -> list[Guidance]:
        """Return one guidance of kind ``intra`` for each attempt."""
        return [
            Guidance(kind="intra", text=self.prompts.intra(attempt), attempt=attempt)
            for attempt in attempts
        ]
