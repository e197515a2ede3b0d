"""From hits to the few that are shown: filter, one of each lesson, shortlist, draw, render."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from lanpo_memory.errors import ConfigError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ExperienceFilter, Prompts
from lanpo_memory.types import Problem, Retrieved

__all__ = ["OVER_BUDGET", "Candidate", "Chosen", "RetrievalWeight", "Selection"]

RetrievalWeight = Literal["relevance", "utility", "product", "recency"]
_WEIGHTS: tuple[RetrievalWeight, ...] = get_args(RetrievalWeight)

OVER_BUDGET = "over the token budget"
_BUDGET = "the token budget"
_SAME_LESSON = "the same lesson ranks higher"
_ONE_OF_EACH = "the one-of-each-lesson rule"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One experience on its way to the prompt. `dropped` says why it fell out, if it did.

    `dropped_by` names the filter, or the rule, that dropped it.

    `rank` counts from 0, best first; `weight` is what the shortlist is sorted by; `shortlisted`
    says that it could have been drawn, `used` that it is in the guidance; `tokens` is how long the
    whole guidance is that it is used in.
    """

    retrieved: Retrieved
    rank: int
    weight: float = 0.0
    dropped: str | None = None
    dropped_by: str | None = None
    shortlisted: bool = False
    used: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The guidance text, empty if nothing was chosen, and the fate of every candidate."""

    text: str
    candidates: tuple[Candidate, ...]


def approximate_tokens(text: str) -> int:
    """About four characters a token, for when no tokenizer was given."""
    return len(text) // 4 + 1


@dataclass(frozen=True, slots=True)
class Selection:
    """How guidance is made of candidates.

    Args:
        weight: sort candidates by relevance, by utility, by their product, or newest first.
        experiences: how many go into one prompt at most.
        shortlist: how many of the best are drawn from.
        max_tokens: budget for the guidance text; whole experiences are left out to meet it.
        count_tokens: how long a text is; about four characters a token by default.
        prompts: the language of the guidance; English by default.

    Raises:
        ConfigError: a setting out of range.

    Source: weighted sampling, arXiv 2510.16552 §4.

    >>> Selection(experiences=2).choose(Problem(text="2 + 3?"), []).text
    ''
    """

    weight: RetrievalWeight = "relevance"
    experiences: int = 1
    shortlist: int = 4
    max_tokens: int | None = None
    count_tokens: Callable[[str], int] = approximate_tokens
    prompts: Prompts = field(default_factory=EnglishPrompts)

    def __post_init__(self) -> None:
        if self.weight not in _WEIGHTS:
            raise ConfigError(f"weight must be one of {', '.join(_WEIGHTS)}; got {self.weight!r}")
        for name in ("experiences", "shortlist"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")

    def choose(
        self,
        problem: Problem,
        hits: Sequence[Retrieved],
        filters: Sequence[ExperienceFilter] = (),
        *,
        seed: str | None = None,
        max_tokens: int | None = None,
    ) -> Chosen:
        """Choose among hits, which come best first.

        With a seed the experiences are drawn from the shortlist with weights 1/(i+1), without one
        its first are taken. `max_tokens` replaces the budget where this problem has its own.
        """
        candidates = self._filtered(problem, hits, filters)
        kept = [c for c in candidates if c.dropped is None]
        shortlist = sorted(kept, key=lambda c: -c.weight)[: self.shortlist]  # stable
        for c in shortlist:
            candidates[c.rank] = replace(c, shortlisted=True)
        drawn = [candidates[c.rank] for c in _draw(shortlist, self.experiences, seed)]
        budget = self.max_tokens if max_tokens is None else max_tokens
        text, tokens, used = self._rendered(problem, drawn, budget)
        for c in drawn[used:]:
            candidates[c.rank] = replace(c, dropped=OVER_BUDGET, dropped_by=_BUDGET)
        for c in drawn[:used]:
            candidates[c.rank] = replace(c, used=True, tokens=tokens)
        return Chosen(text, tuple(candidates))

    def _filtered(
        self, problem: Problem, hits: Sequence[Retrieved], filters: Sequence[ExperienceFilter]
    ) -> list[Candidate]:
        """Every candidate in order of relevance, with its weight or the reason it was dropped."""
        fates: list[tuple[str | None, str | None]] = [(None, None)] * len(hits)
        for each in filters:
            left = [i for i, (reason, _) in enumerate(fates) if reason is None]
            verdicts = each.verdicts(problem, [hits[i] for i in left])
            for i, verdict in zip(left, verdicts, strict=True):
                if verdict is not None:
                    fates[i] = verdict, type(each).__name__
        lessons: set[str] = set()
        candidates = []
        for rank, (hit, (reason, by)) in enumerate(zip(hits, fates, strict=True)):
            if reason is None:
                lesson = hit.experience.lesson_id
                if lesson in lessons:
                    reason, by = _SAME_LESSON, _ONE_OF_EACH
                lessons.add(lesson)
            weight = self._weight(hit) if reason is None else 0.0
            candidates.append(
                Candidate(hit, rank=rank, weight=weight, dropped=reason, dropped_by=by)
            )
        return candidates

    def _weight(self, hit: Retrieved) -> float:
        if self.weight == "utility":
            return hit.utility
        if self.weight == "product":
            return hit.utility * hit.similarity
        if self.weight == "recency":
            return max(float(hit.experience.metadata.step + 1), 1e-9)
        # A perfect stranger with gamma 0 is still a candidate.
        return max(hit.similarity, 1e-9)

    def _rendered(
        self, problem: Problem, drawn: Sequence[Candidate], budget: int | None
    ) -> tuple[str, int, int]:
        """The text, its length in tokens, and how many of the drawn fit into it."""
        for used in range(len(drawn), 0, -1):
            text = self.prompts.inter(problem, [c.retrieved for c in drawn[:used]])
            tokens = self.count_tokens(text)
            if budget is None or tokens <= budget:
                return text, tokens, used
        return "", 0, 0


def _draw(shortlist: Sequence[Candidate], n: int, seed: str | None) -> list[Candidate]:
    """Draw n without replacement with weights 1/(i+1); without a seed, the first n."""
    if seed is None:
        return list(shortlist[:n])
    # Weights 1/(i+1) by rank: arXiv 2510.16552 §4. A string seeds by its own hash, on any machine.
    generator = random.Random(seed)
    left = list(shortlist)
    drawn: list[Candidate] = []
    ranks = list(range(len(left)))
    while left and len(drawn) < n:
        weights = [1 / (rank + 1) for rank in ranks]
        chosen = generator.choices(range(len(left)), weights)[0]
        drawn.append(left.pop(chosen))
        ranks.pop(chosen)
    return drawn
