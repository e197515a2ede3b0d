"""What the hooks share: names that `LanpoTrainer` fills."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl import GRPOTrainer

from lanpo_memory.protocols import ExperienceAdapter, Prompts
from lanpo_rl.alarms import Alarms, Canary, LessonsShown
from lanpo_rl.clock import StageClock
from lanpo_rl.config import LanpoConfig
from lanpo_rl.plans import Outcome, Plan

__all__ = ["Hooked"]


class Hooked(GRPOTrainer):
    """State of a run that more than one hook reads or writes. TRL's own names are left alone."""

    args: LanpoConfig
    _lanpo_prompts: Prompts
    _lanpo_memory: ExperienceAdapter | None
    _lanpo_plan: Plan | None  # of the batch that is being sampled
    _lanpo_outcome: Outcome | None  # of the last batch that was scored
    _lanpo_clock: StageClock
    _lanpo_stepped: float  # when the last training step ended
    _lanpo_entropies: Tensor | None  # of the last forward pass
    _lanpo_scratch_level: float | None  # running mean of scratch task rewards
    _lanpo_failing: dict[str, bool]  # problem id -> no scratch rollout was right
    _lanpo_lessons: LessonsShown
    _lanpo_alarms: Alarms | None
    _lanpo_canary: Canary | None
    _lanpo_summary_tokens: tuple[int, int]  # in and out, of the last batch
    _lanpo_lengths_n: list[tuple[int, bool]]  # tokens of each completion, and whether it was cut
    _lanpo_canary_tokens: int  # in and out together, of the last batch

    @property
    def memory(self) -> ExperienceAdapter:
        """The memory, on the process that holds it."""
        raise NotImplementedError

    def _lanpo_scored(self, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Total and task reward of every row; NaN where nobody scored it."""
        raise NotImplementedError

    def _lanpo_metric(self, name: str, value: Any) -> None:
        """Log a figure of this step through TRL."""
        self._metrics["train"][f"lanpo/{name}"].append(value)
