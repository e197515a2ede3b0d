"""What may be shown for a problem. Each filter answers `None` (keep) or the reason for dropping."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from lanpo_memory.errors import ConfigError
from lanpo_memory.texts import is_reworded
from lanpo_memory.types import Problem, Retrieved

__all__ = ["NotFromProblems", "NotSameProblem", "OutcomeIs", "SimilarityAtLeast"]


class SimilarityAtLeast:
    """Keep what is at least `gamma` similar. Gamma belongs to one scorer; none is universal.

    Source: relevance filter, arXiv 2510.16552 §4 (there P(yes) of a judge, γ = 0.9).

    >>> SimilarityAtLeast(0.9).gamma
    0.9
    """

    def __init__(self, gamma: float) -> None:
        if not 0.0 <= gamma <= 1.0:
            raise ConfigError(f"gamma must lie between 0 and 1, got {gamma}")
        self.gamma = gamma

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop what is less similar than gamma."""
        return [
            None
            if hit.similarity >= self.gamma
            else f"similarity {hit.similarity:.3f} is below gamma {self.gamma:.3f}"
            for hit in hits
        ]


class NotSameProblem:
    """Keep inter-sample guidance free of the problem itself, reworded or not.

    Two problems are the same if their ids are, or if they are alike with the same numbers. The
    same template with other numbers stays.
    """

    def __init__(self, *, threshold: float = 0.6) -> None:
        self.threshold = threshold

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop the problem itself and what rewords it."""
        checked: dict[str, str | None] = {}
        for hit in hits:
            other = hit.experience.problem
            if other.id not in checked:
                checked[other.id] = self._verdict(problem, other)
        return [checked[hit.experience.problem.id] for hit in hits]

    def _verdict(self, problem: Problem, other: Problem) -> str | None:
        if problem.id == other.id:
            return "the same problem"
        if is_reworded(problem.text, other.text, threshold=self.threshold):
            return "the same problem, reworded"
        return None


class OutcomeIs:
    """Keep experiences made from correct rollouts, from wrong ones, or from any."""

    def __init__(self, outcome: Literal["correct", "wrong", "any"] = "correct") -> None:
        if outcome not in ("correct", "wrong", "any"):
            raise ConfigError(f"outcome must be correct, wrong or any, got {outcome!r}")
        self.outcome = outcome

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop the other outcomes, and unknown ones unless any will do."""
        if self.outcome == "any":
            return [None] * len(hits)
        wanted = self.outcome == "correct"
        return [
            None if hit.experience.metadata.correct is wanted else f"outcome is not {self.outcome}"
            for hit in hits
        ]


class NotFromProblems:
    """Drop experiences of certain problems: those of an evaluation set, say."""

    def __init__(self, problem_ids: Collection[str]) -> None:
        self.problem_ids = frozenset(problem_ids)

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop what was made from one of the problems."""
        return [
            "made from an excluded problem"
            if hit.experience.problem.id in self.problem_ids
            else None
            for hit in hits
        ]
