"""What is read off a run, with a name for tables and sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lanpo_memory.types import SolveMode
from lanpo_rl.study.results import ArmResult, ModeFigures, Point
from lanpo_rl.study.statistics import seconds_to, tokens_to
from lanpo_rl.tasks import Split

__all__ = [
    "MODE_LABELS",
    "Cost",
    "Measure",
    "final",
    "greedy",
    "guided_reward",
    "passing",
    "tokens_spent_to",
]

MODE_LABELS: dict[SolveMode, str] = {
    "zero_shot": "zero-shot",
    "retrieval": "retrieval",
    "self_correct": "self-correct",
    "retrieval+self_correct": "both",
}
_SPLIT_LABELS = {"train": "training problems", "held_out": "held-out", "shifted": "shifted"}
_EARLY = 40

Axis = Literal["tokens", "seconds"]


@dataclass(frozen=True)
class Measure:
    """One figure of a run.

    Attributes:
        label: in sentences.
        read: the figure; `None` where a run does not have it.
        unit: a share from 0 to 1, or tokens.
        mode: of inference, if it is a figure of one.
    """

    label: str
    read: Callable[[ArmResult], float | None]
    unit: Literal["share", "tokens"] = "share"
    mode: SolveMode | None = None


@dataclass(frozen=True)
class Cost:
    """What a run spent until its greedy zero-shot accuracy was at a threshold.

    >>> Cost(0.8, "tokens").label
    'tokens to 0.8 zero-shot'
    """

    threshold: float
    axis: Axis

    @property
    def label(self) -> str:
        """In sentences."""
        return f"{self.axis} to {self.threshold:g} zero-shot"

    def read(self, run: ArmResult) -> float | None:
        """Return the cost; `None` if the run never got there."""
        spend = tokens_to if self.axis == "tokens" else seconds_to
        return spend(run.curve, self.threshold)

    def spent(self, run: ArmResult) -> float:
        """Return what the run spent in all."""
        return float(getattr(run.last, self.axis))


def _figures(run: ArmResult, mode: SolveMode, split: Split) -> ModeFigures | None:
    return run.final.get(split, {}).get(mode)


def final(mode: SolveMode, split: Split = "held_out") -> Measure:
    """Return mean@k of an inference mode when training has ended."""

    def read(run: ArmResult) -> float | None:
        figures = _figures(run, mode, split)
        return None if figures is None else figures.mean

    return Measure(f"{MODE_LABELS[mode]} mean@k, {_SPLIT_LABELS[split]}", read, mode=mode)


def passing(mode: SolveMode, split: Split = "held_out") -> Measure:
    """Return pass@k of an inference mode, k being the number of samples."""

    def read(run: ArmResult) -> float | None:
        figures = _figures(run, mode, split)
        return None if figures is None else figures.pass_at.get(figures.samples)

    return Measure(f"{MODE_LABELS[mode]} pass@k, {_SPLIT_LABELS[split]}", read, mode=mode)


def greedy(
    label: str, look: Callable[[Point], float | None], *, step: int | None = None
) -> Measure:
    """Return a figure of the last greedy evaluation, or of the one at `step`."""

    def read(run: ArmResult) -> float | None:
        points = [p for p in run.curve if step is None or p.step == step]
        return look(points[-1]) if points else None

    when = "" if step is None else f" at step {step}"
    return Measure(f"{label}, greedy{when}", read)


def guided_reward() -> Measure:
    """Return the reward of guided rollouts in training, over the first steps."""
    return Measure(
        f"reward of guided rollouts, steps 1 to {_EARLY}",
        lambda run: run.mean("lanpo/reward_guided", last=_EARLY),
    )


def tokens_spent_to(threshold: float, *, within: float) -> Measure:
    """Return tokens to a threshold, asked for within so many.

    A run that never got there counts with all it generated, if that is more than was asked for;
    else nothing is known.
    """
    cost = Cost(threshold, "tokens")

    def read(run: ArmResult) -> float | None:
        found = cost.read(run)
        if found is None and cost.spent(run) > within:
            return cost.spent(run)
        return found

    return Measure(cost.label, read, "tokens")
