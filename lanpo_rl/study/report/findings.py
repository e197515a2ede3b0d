"""What a report is made from: the runs of a study by subject and arm, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lanpo_memory.types import SolveMode
from lanpo_rl.study.arms import Arm
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import Subject

__all__ = ["ArmRuns", "Failed", "Findings", "NotRun", "SubjectRuns"]


@dataclass(frozen=True)
class Failed:
    """A run that crashed, its key ``SUBJECT/ARM/SEED``; or a policy that some would begin with."""

    key: str
    label: str
    traceback: str
    is_run: bool = True

    @property
    def error(self) -> str:
        """The last line of the traceback, which says what went wrong."""
        lines = [line.strip() for line in self.traceback.splitlines() if line.strip()]
        return lines[-1] if lines else "no traceback"


@dataclass(frozen=True)
class NotRun:
    """A run that was not made, or a policy, and why."""

    key: str
    label: str
    reason: str = ""
    is_run: bool = True


@dataclass(frozen=True)
class ArmRuns:
    """The runs of one arm on one subject.

    Attributes:
        name: of the arm.
        label: its name in tables.
        runs: those that finished, by seed.
        planned: how many there were to be.
        crashed: how many crashed.
        of: name of the arm that it changes.
    """

    name: str
    label: str
    runs: tuple[ArmResult, ...]
    planned: int
    crashed: int = 0
    of: str | None = None

    @property
    def seeds(self) -> str:
        """How many runs finished, for a table.

        >>> ArmRuns("grpo", "GRPO", (), planned=5, crashed=1).seeds
        '0 of 5, 1 crashed'
        """
        done = len(self.runs)
        text = f"{done}" if done == self.planned else f"{done} of {self.planned}"
        return f"{text}, {self.crashed} crashed" if self.crashed else text

    def by_seed(self, read: Callable[[ArmResult], float | None]) -> dict[int, float]:
        """Return a figure of every run that has it."""
        found = {run.seed: read(run) for run in self.runs}
        return {seed: v for seed, v in found.items() if v is not None and math.isfinite(v)}


@dataclass(frozen=True)
class SubjectRuns:
    """The arms of one subject, in the study's order."""

    subject: Subject
    arms: Mapping[str, ArmRuns]

    @property
    def runs(self) -> list[ArmResult]:
        """Every finished run."""
        return [run for arm in self.arms.values() for run in arm.runs]

    @property
    def modes(self) -> list[SolveMode]:
        """Inference modes that its policy was taught, as far as they were asked."""
        asked = {mode for run in self.runs for mode in run.final.get("held_out", {})}
        return [mode for mode in self.subject.modes if mode in asked]

    @property
    def retrieves(self) -> bool:
        """Whether curves follow accuracy with memory."""
        return "retrieval" in self.subject.modes


@dataclass(frozen=True)
class Findings:
    """Everything a report is made from.

    Attributes:
        study: the plan.
        runs: the finished ones, by name of the subject; one that is absent was not asked for.
        seeds: how many runs of each arm were planned.
        date: of the report, as it is to be printed.
        failed: runs that crashed.
        not_run: runs that were not made.
        only: names of the arms that were asked for; all of the study's if empty.
    """

    study: Study
    runs: Mapping[str, Sequence[ArmResult]]
    seeds: int
    date: str
    failed: Sequence[Failed] = ()
    not_run: Sequence[NotRun] = ()
    only: Sequence[str] = ()

    @property
    def subjects(self) -> list[SubjectRuns]:
        """Runs by subject and arm, in the study's order; arms without a finished run are there."""
        return [
            self._subject(part)
            for part in self.study.parts
            if self._arms(part) and part.subject.name in self.runs
        ]

    @property
    def finished(self) -> int:
        """How many runs finished."""
        return sum(len(found.runs) for found in self.subjects)

    def _arms(self, part: Part) -> list[Arm]:
        return [arm for arm in part.arms if not self.only or arm.name in self.only]

    def _subject(self, part: Part) -> SubjectRuns:
        name = part.subject.name
        found = self.runs.get(name, ())
        return SubjectRuns(
            part.subject,
            {
                arm.name: ArmRuns(
                    name=arm.name,
                    label=arm.label,
                    runs=_of_arm(found, arm.name),
                    planned=self.seeds,
                    crashed=sum(f.key.startswith(f"{name}/{arm.name}/") for f in self.failed),
                    of=arm.of,
                )
                for arm in self._arms(part)
            },
        )


def _of_arm(runs: Iterable[ArmResult], arm: str) -> tuple[ArmResult, ...]:
    """Runs of an arm by seed; a run without any evaluation shows nothing."""
    return tuple(sorted((r for r in runs if r.arm == arm and r.curve), key=lambda run: run.seed))
