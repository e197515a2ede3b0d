"""What may be shown for a problem. Each filter answers `None` (keep) or the reason for dropping."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from lanpo_memory.errors import ConfigError
from lanpo_memory.protocols import Embedder
from lanpo_memory.texts import is_reworded, is_same_template, same_numbers
from lanpo_memory.types import Problem, Retrieved

__all__ = [
    "REWORDED",
    "SAME_PROBLEM",
    "TEMPLATE",
    "NotFromProblems",
    "NotSameProblem",
    "OutcomeIs",
    "SimilarityAtLeast",
    "is_template_of",
]

SAME_PROBLEM = "the same problem"
REWORDED = "the same problem, reworded"
TEMPLATE = "the same template with other numbers"


class SimilarityAtLeast:
    """Keep what is at least `gamma` similar. Gamma belongs to one scorer; none is universal.

    Source: relevance filter, arXiv 2510.16552 §4 (there P(yes) of a judge, γ = 0.9).

    >>> SimilarityAtLeast(0.9).gamma
    0.9
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = _share("gamma", gamma)

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop what is less similar than gamma."""
        return self._verdicts([hit.similarity for hit in hits])

    def problem_verdicts(
        self, problem: Problem, others: Sequence[Problem], similarities: Sequence[float]
    ) -> list[str | None]:
        """See `ProblemFilter.problem_verdicts`."""
        return self._verdicts(similarities)

    def _verdicts(self, similarities: Sequence[float]) -> list[str | None]:
        gamma, limit = self.gamma, f"is below gamma {self.gamma:.3f}"
        return [None if s >= gamma else f"similarity {s:.3f} {limit}" for s in similarities]


class NotSameProblem:
    """Keep inter-sample guidance free of the problem itself, reworded or not.

    Two problems are the same if their ids are, or if they are alike with the same numbers. Free
    paraphrases are found by an `embedder`, which is asked once a call, about candidates that have
    exactly the numbers of the problem and at least one. Numbers written as words escape.

    Args:
        threshold: share of the words, or of the runs of three words, that makes two texts alike.
        drop_templates: also drop the same template with other numbers. It is no leak in training;
            an evaluation that is to show more than the template wants it out.
        embedder: finds paraphrases; without one, only wording counts.
        cosine: least cosine of a paraphrase. It belongs to the embedder, like any threshold.

    Raises:
        ConfigError: `threshold` or `cosine` is not between 0 and 1.

    >>> from lanpo_memory.types import Experience
    >>> problem = Problem(text="Ann has 3 red apples and buys 4 more. How many has she?")
    >>> other = Problem(text="Ann has 5 red apples and buys 9 more. How many has she?")
    >>> hit = Retrieved(experience=Experience(problem=other, thoughts="t"), score=1, similarity=1)
    >>> NotSameProblem().verdicts(problem, [hit])
    [None]
    >>> NotSameProblem(drop_templates=True).verdicts(problem, [hit])
    ['the same template with other numbers']
    """

    def __init__(
        self,
        *,
        threshold: float = 0.6,
        drop_templates: bool = False,
        embedder: Embedder | None = None,
        # GSM8K, all-MiniLM-L6-v2: of 4,358 pairs of problems with the same numbers none reaches
        # 0.81. Of 23 paraphrases made by hand 22 reach 0.85, 13 reach 0.9; wording finds 2.
        cosine: float = 0.85,
    ) -> None:
        self.threshold = _share("threshold", threshold)
        self.drop_templates = drop_templates
        self.embedder = embedder
        self.cosine = _share("cosine", cosine)

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Drop the problem itself and what rewords it, with `drop_templates` its template too."""
        others = {hit.experience.problem.id: hit.experience.problem for hit in hits}
        reasons = dict(zip(others, self._verdicts(problem, list(others.values())), strict=True))
        return [reasons[hit.experience.problem.id] for hit in hits]

    def problem_verdicts(
        self, problem: Problem, others: Sequence[Problem], similarities: Sequence[float]
    ) -> list[str | None]:
        """See `ProblemFilter.problem_verdicts`."""
        return self._verdicts(problem, others)

    def _verdicts(self, problem: Problem, others: Sequence[Problem]) -> list[str | None]:
        reasons = [self._by_wording(problem, other) for other in others]
        if self.embedder is not None:
            unsettled = [i for i, reason in enumerate(reasons) if reason is None]
            for i in self._paraphrases(self.embedder, problem, others, unsettled):
                reasons[i] = REWORDED
        return reasons

    def _by_wording(self, problem: Problem, other: Problem) -> str | None:
        if problem.id == other.id:
            return SAME_PROBLEM
        if is_reworded(problem.text, other.text, threshold=self.threshold):
            return REWORDED
        if self.drop_templates and is_template_of(problem, other, threshold=self.threshold):
            return TEMPLATE
        return None

    def _paraphrases(
        self,
        embedder: Embedder,
        problem: Problem,
        others: Sequence[Problem],
        unsettled: Sequence[int],
    ) -> list[int]:
        suspects = [i for i in unsettled if same_numbers(problem.text, others[i].text)]
        if not suspects:
            return []
        rows = embedder.embed([problem.text, *(others[i].text for i in suspects)])
        cosines = rows[1:] @ rows[0]
        return [i for i, cosine in zip(suspects, cosines, strict=True) if cosine >= self.cosine]


def is_template_of(problem: Problem, other: Problem, *, threshold: float = 0.6) -> bool:
    """Tell whether two problems differ in their numbers only; see `texts.is_same_template`."""
    return problem.id != other.id and is_same_template(
        problem.text, other.text, threshold=threshold
    )


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
        return self._verdicts([hit.experience.problem for hit in hits])

    def problem_verdicts(
        self, problem: Problem, others: Sequence[Problem], similarities: Sequence[float]
    ) -> list[str | None]:
        """See `ProblemFilter.problem_verdicts`."""
        return self._verdicts(others)

    def _verdicts(self, others: Sequence[Problem]) -> list[str | None]:
        reason = "made from an excluded problem"
        return [reason if other.id in self.problem_ids else None for other in others]


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:  # not (value < 0 or value > 1), which lets NaN through
        raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
    return value
