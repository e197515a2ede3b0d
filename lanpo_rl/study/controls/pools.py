"""Controls that change what is in the pool, or who finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanpo_memory.admission import Admission, admit_correct
from lanpo_memory.summarizers import provenance
from lanpo_memory.types import (
    Completion,
    Experience,
    Failure,
    Problem,
    Request,
    Rollout,
)
from lanpo_rl.study.controls.base import Control, Surroundings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FrozenPoolControl", "OracleControl", "RawSolutionsControl"]


@dataclass(frozen=True)
class FrozenPoolControl(Control):
    """No experience comes in after the first part of a run.

    Attributes:
        after: that part, as a share of the steps.
    """

    after: float = 0.25

    def parts(self, around: Surroundings) -> dict[str, Any]:
        """Return an admission that closes."""
        return {"admission": _until(round(self.after * around.steps))}


def _until(step: int) -> Admission:
    admit = admit_correct()

    def admitted(rollouts: Sequence[Rollout]) -> list[int]:
        return list(admit(rollouts)) if rollouts and rollouts[0].step < step else []

    return admitted


@dataclass(frozen=True)
class RawSolutionsControl(Control):
    """Right completions themselves go into the pool, unsummarised.

    The paper reports that a policy then copies what it is shown (arXiv 2510.16552 §5).
    """

    def parts(self, around: Surroundings) -> dict[str, Any]:
        """Return a summarizer that summarises nothing."""
        return {"summarizer": _RawSolutions()}


class _RawSolutions:
    """A `Summarizer` that asks nobody."""

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        return []

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        return [
            Experience(
                problem=rollout.problem,
                principles=(rollout.completion,),
                metadata=provenance(rollout),
            )
            for rollout in rollouts
        ]


@dataclass(frozen=True)
class OracleControl(Control):
    """The family's label, which no retriever sees, decides what is relevant."""

    def parts(self, around: Surroundings) -> dict[str, Any]:
        """Return a relevance that knows families."""
        return {"relevance": _SameFamily()}


class _SameFamily:
    """A `Relevance` of 1 within a family, and of 0 else."""

    fingerprint = "same family"
    default_gamma = 0.5

    def score(self, pairs: Sequence[tuple[Problem, Experience]]) -> NDArray[np.float32]:
        import numpy as np

        same = [p.family is not None and p.family == e.problem.family for p, e in pairs]
        return np.array(same, dtype=np.float32)
