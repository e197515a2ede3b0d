"""What a control may change: the parts a memory is built from, or the memory as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.types import (
    Attempt,
    Completion,
    Failure,
    Guidance,
    Observation,
    Problem,
    Request,
    Rollout,
)
from lanpo_rl.tasks import Task

__all__ = ["Control", "Surroundings", "WrappedMemory"]


@dataclass(frozen=True)
class Surroundings:
    """What a control may know of the run it is part of."""

    task: Task
    seed: int
    steps: int


@dataclass(frozen=True)
class Control:
    """No change at all; controls override one method or both.

    >>> Control().parts(Surroundings(Task("none", (), ()), seed=0, steps=1))
    {}
    """

    def parts(self, around: Surroundings) -> dict[str, Any]:
        """Return arguments of `lanpo_rl.memory.build_memory` in place of those of the settings."""
        return {}

    def wrap(self, memory: PoolAdapter, around: Surroundings) -> ExperienceAdapter:
        """Return what the trainer shall ask and tell instead of the memory."""
        return memory


class WrappedMemory:
    """A memory that does as the one inside it does; `prepare` is what controls override."""

    def __init__(self, inner: PoolAdapter) -> None:
        self.inner = inner
        self.pool = inner.pool

    def prepare(
        self,
        problems: Sequence[Problem],
        *,
        step: int,
        wanted: Sequence[bool | None] | None = None,
        attempts: Sequence[Attempt | None] | None = None,
    ) -> list[Guidance]:
        """See `ExperienceAdapter.prepare`."""
        return self.inner.prepare(problems, step=step, wanted=wanted, attempts=attempts)

    def ask(self, rollouts: Sequence[Rollout], *, step: int) -> list[Request]:
        """See `ExperienceAdapter.ask`."""
        return self.inner.ask(rollouts, step=step)

    def ingest(
        self,
        rollouts: Sequence[Rollout],
        answers: Sequence[Completion | Failure],
        *,
        step: int,
    ) -> Observation:
        """See `ExperienceAdapter.ingest`."""
        return self.inner.ingest(rollouts, answers, step=step)

    def observe(self, rollouts: Sequence[Rollout], *, step: int) -> Observation:
        """See `ExperienceAdapter.observe`."""
        return self.inner.observe(rollouts, step=step)

    def save(self, folder: Path) -> None:
        """See `ExperienceAdapter.save`."""
        self.inner.save(folder)

    def load(self, folder: Path) -> None:
        """See `ExperienceAdapter.load`."""
        self.inner.load(folder)
