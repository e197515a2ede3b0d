"""The bonus for the section headers that guidance asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanpo_memory.protocols import Prompts
from lanpo_rl.rewards.functions import completion_text

__all__ = ["SectionReward"]


class SectionReward:
    """A bonus for the section headers a guided completion must have; 0 for unguided ones.

    Reads the column ``lanpo_guidance`` (the guidance's kind), which `LanpoTrainer` adds.
    Source: arXiv 2510.16552 §4, +0.1 on rollouts with feedback only.
    """

    __name__ = "section_headers"

    def __init__(self, prompts: Prompts, *, bonus: float = 0.1) -> None:
        self._prompts, self.bonus = prompts, bonus

    def __call__(
        self, completions: Sequence[Any], lanpo_guidance: Sequence[Any], **kwargs: Any
    ) -> list[float]:
        """Return `bonus` where every required section is there."""
        return [
            self.bonus if self._complete(kind, completion_text(completion)) else 0.0
            for completion, kind in zip(completions, lanpo_guidance, strict=True)
        ]

    def _complete(self, kind: Any, text: str) -> bool:
        sections = self._prompts.sections(kind)
        return bool(sections) and all(any(h in text for h in either) for either in sections)
