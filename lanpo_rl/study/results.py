"""What one run leaves behind: curves while it trains, every inference mode when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["ArmResult", "ModeFigures", "Point"]


@dataclass(frozen=True)
class Point:
    """One evaluation while a run trains, greedy, on held-out problems. Shares are 0 to 1.

    Attributes:
        step: training steps so far.
        tokens: generated tokens so far that the arm pays for: those of rollouts and of summaries.
            An arm that never reads its pool in training pays for no summaries.
        seconds: of training so far; the clock stands still while it is evaluated.
        zero_shot: accuracy on the bare problem.
        with_memory: accuracy with the pool as it is then.
        guided: share of the problems for which the pool had something to show.
        right_family: of those, how often it came from the problem's own family; `None` without any.
        self_corrected: accuracy after checking the own answer; `None` where nothing teaches that.
        summary_tokens: tokens of summaries so far, paid for or not.
    """

    step: int
    tokens: int
    seconds: float
    zero_shot: float
    with_memory: float
    guided: float
    right_family: float | None
    self_corrected: float | None = None
    summary_tokens: int = 0


@dataclass(frozen=True)
class ModeFigures:
    """One inference mode on one split when training has ended: samples at temperature 1.

    Attributes:
        mean: mean@k, the share of right samples; `None` where every one is missing.
        pass_at: pass@j by j (unbiased estimator): some of j samples is right.
        problems: how many.
        samples: k, of each problem, missing ones included.
        guided: share of the samples with experiences in the prompt.
        right_to_wrong: share of samples that a reflection made wrong; 0 without reflections.
        wrong_to_right: share of samples that it made right.
        missing: samples that could not be had, such as for a prompt that is too long; not counted.
    """

    mean: float | None
    pass_at: Mapping[int, float]
    problems: int
    samples: int
    guided: float = 0.0
    right_to_wrong: float = 0.0
    wrong_to_right: float = 0.0
    missing: int = 0


@dataclass
class ArmResult:
    """Everything measured on one arm and seed.

    Attributes:
        arm: its name.
        label: its name in tables.
        seed: of the task and of the run.
        settings: those that differ from the defaults.
        curve: evaluations, from step 0 to the last.
        stage_seconds: training time by stage.
        pool: figures of the pool at the end.
        pool_digest: its content, as a hash.
        log: what was logged in each step.
        task: name of the task.
        policy: name of the seeded policy it began with.
        parameters: weights of that policy.
        final: figures by split, then by inference mode.
    """

    arm: str
    label: str
    seed: int
    settings: dict[str, Any]
    curve: list[Point] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)
    pool_digest: str = ""
    log: list[dict[str, float]] = field(default_factory=list)
    task: str = ""
    policy: str = ""
    parameters: int = 0
    final: dict[str, dict[str, ModeFigures]] = field(default_factory=dict)

    @property
    def last(self) -> Point:
        """The evaluation after the last step."""
        return self.curve[-1]

    def mean(self, metric: str, first: int = 1, last: int | None = None) -> float | None:
        """Mean of a logged metric over steps `first` to `last`, both included."""
        values = [
            row[metric]
            for row in self.log
            if metric in row and first <= row["step"] <= (last or row["step"])
        ]
        return sum(values) / len(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """Plain data for a results file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ArmResult:
        """Read what `as_json` gave, also after a trip through a file."""
        curve = [Point(**point) for point in content["curve"]]
        final = {
            split: {mode: _figures(found) for mode, found in modes.items()}
            for split, modes in content.get("final", {}).items()
        }
        return cls(**{**content, "curve": curve, "final": final})


def _figures(content: Mapping[str, Any]) -> ModeFigures:
    pass_at = {int(k): share for k, share in content["pass_at"].items()}
    return ModeFigures(**{**content, "pass_at": pass_at})
