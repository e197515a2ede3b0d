"""The control that cheats: it shows the reference answer, which the memory never does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.types import Attempt, Guidance, Problem
from lanpo_rl.study.controls.base import Control, Surroundings, WrappedMemory
from lanpo_rl.tiny.prompts import TinyPrompts, as_hint

__all__ = ["LeakyControl", "leak_text"]


@dataclass(frozen=True)
class LeakyControl(Control):
    """Whoever draws guidance is shown the answer: rewards rise at once, and teach nothing else."""

    def wrap(self, memory: PoolAdapter, around: Surroundings) -> ExperienceAdapter:
        """Return a memory that knows every training problem's answer."""
        return _LeakyMemory(memory, around)


class _LeakyMemory(WrappedMemory):
    def __init__(self, inner: PoolAdapter, around: Surroundings) -> None:
        super().__init__(inner)
        self._answers = {e.problem.id: e.answer for e in around.task.train}
        self._tiny = isinstance(around.task.prompts, TinyPrompts)

    def prepare(
        self,
        problems: Sequence[Problem],
        *,
        step: int,
        wanted: Sequence[bool | None] | None = None,
        attempts: Sequence[Attempt | None] | None = None,
    ) -> list[Guidance]:
        wishes = wanted or [None] * len(problems)
        drawn = [
            self.inner.draws(p, step) if wish is None else wish
            for p, wish in zip(problems, wishes, strict=True)
        ]
        # Of another kind than an attempt: it stands in front of the problem, as a lesson would.
        return [
            Guidance(kind="inter", text=leak_text(self._answers[p.id], tiny=self._tiny))
            if draws
            else Guidance()
            for p, draws in zip(problems, drawn, strict=True)
        ]


def leak_text(answer: str, *, tiny: bool) -> str:
    """Return an answer as it stands in front of its problem.

    >>> leak_text("23", tiny=True)
    'hint 23|'
    """
    return as_hint(answer) if tiny else f"The answer is {answer}.\n\n"
