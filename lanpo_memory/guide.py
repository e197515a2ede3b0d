"""The one path from a problem to guidance: retrieve, relevance, filter, sample, render."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lanpo_memory.errors import ConfigError
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ExperienceFilter, Prompts, Reflector, Relevance
from lanpo_memory.reflectors import InRolloutReflector
from lanpo_memory.types import Attempt, Guidance, Problem, Retrieved

__all__ = ["Candidate", "Guide", "Inter", "RetrievalWeight", "approximate_tokens", "uniform"]

RetrievalWeight = Literal["relevance", "utility", "product"]
_WEIGHTS = ("relevance", "utility", "product")


def uniform(*key: object) -> float:
    """A number in [0, 1) made from a key by hashing: the same on every rank and in every run.

    >>> uniform(0, 5, "problem") == uniform(0, 5, "problem")
    True
    """
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def approximate_tokens(text: str) -> int:
    """About four characters a token, for when no tokenizer was given."""
    return len(text) // 4 + 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """One experience on its way through the guide. `dropped` says where it fell out, if it did."""

    retrieved: Retrieved
    rank: int
    weight: float = 0.0
    dropped: str | None = None
    used: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Inter:
    """Inter-sample guidance for one problem, with the fate of every candidate."""

    guidance: Guidance
    candidates: tuple[Candidate, ...]

    @property
    def hit(self) -> bool:
        """Whether any candidate passed all filters."""
        return any(c.weight > 0 for c in self.candidates)

    @property
    def used(self) -> tuple[Candidate, ...]:
        """The candidates that went into the guidance."""
        return tuple(c for c in self.candidates if c.used)

    @property
    def dropped_for_budget(self) -> int:
        """How many whole experiences the token budget cost."""
        return sum(c.dropped == _OVER_BUDGET for c in self.candidates)


_OVER_BUDGET = "over the token budget"


class Guide:
    """Turns a pool into guidance.

    Relevance decides which experiences are candidates; `weight` decides by what they are sorted;
    the top `shortlist` are drawn from with weights 1/(i+1) without replacement.

    Args:
        pool: where the experiences are.
        prompts: the language of the roles; English by default.
        relevance: a scorer that replaces the retriever's own similarity.
        gamma: the least similarity, in the scorer's own unit; `None` takes the scorer's default.
        filters: further filters, after relevance. The problem itself is always left out.
        weight: sort candidates by relevance, by utility, or by their product.
        experiences: how many go into one prompt at most.
        shortlist: how many of the best are drawn from.
        max_tokens: budget for the guidance text; whole experiences are left out to meet it.
        count_tokens: how long a text is; about four characters a token by default.
        reflector: makes intra-sample guidance from an attempt.
        width: how many problems search looks at.
        newest: how many of each problem's experiences it looks at.

    Raises:
        ConfigError: a setting out of range.

    Source: weighted sampling and relevance filter, arXiv 2510.16552 §4.
    """

    def __init__(
        self,
        pool: ExperiencePool,
        *,
        prompts: Prompts | None = None,
        relevance: Relevance | None = None,
        gamma: float | None = None,
        filters: Sequence[ExperienceFilter] = (),
        weight: RetrievalWeight = "relevance",
        experiences: int = 1,
        shortlist: int = 4,
        max_tokens: int | None = None,
        count_tokens: Callable[[str], int] = approximate_tokens,
        reflector: Reflector | None = None,
        width: int = 32,
        newest: int = 4,
    ) -> None:
        if weight not in _WEIGHTS:
            raise ConfigError(f"weight must be one of {', '.join(_WEIGHTS)}; got {weight!r}")
        for name, value in (("experiences", experiences), ("shortlist", shortlist)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self.pool = pool
        self.prompts: Prompts = EnglishPrompts() if prompts is None else prompts
        self.relevance = relevance
        default = relevance.default_gamma if relevance else pool.retriever.default_gamma
        self.gamma = default if gamma is None else gamma
        self.filters: tuple[ExperienceFilter, ...] = (
            SimilarityAtLeast(self.gamma),
            NotSameProblem(),
            *filters,
        )
        self.weight = weight
        self.experiences, self.shortlist = experiences, shortlist
        self.max_tokens, self.count_tokens = max_tokens, count_tokens
        self._reflector = reflector or InRolloutReflector(self.prompts)
        self._width, self._newest = width, newest

    # ------------------------------------------------------------------ inter-sample

    def inter(
        self, problems: Sequence[Problem], *, seeds: Sequence[str] | None = None
    ) -> list[Inter]:
        """Return inter-sample guidance for each problem, with the fate of every candidate.

        With one seed per problem the experiences are drawn; without, the best are taken.
        """
        found = self.pool.retrieve(
            problems, k=self._width * self._newest, width=self._width, newest=self._newest
        )
        return [
            self._inter(problem, hits, None if seeds is None else seeds[i])
            for i, (problem, hits) in enumerate(zip(problems, found, strict=True))
        ]

    def _inter(self, problem: Problem, hits: list[Retrieved], seed: str | None) -> Inter:
        candidates = self._filtered(problem, self._rescored(problem, hits))
        drawn = _draw(_shortlisted(candidates, self.shortlist), self.experiences, seed)
        while drawn:
            text = self.prompts.inter(problem, [c.retrieved for c in drawn])
            tokens = self.count_tokens(text)
            if self.max_tokens is None or tokens <= self.max_tokens:
                break
            last = drawn.pop()
            candidates[last.rank] = replace(candidates[last.rank], dropped=_OVER_BUDGET)
        if not drawn:
            return Inter(Guidance(), tuple(candidates))
        for c in drawn:
            candidates[c.rank] = replace(candidates[c.rank], used=True, tokens=tokens)
        used = [c.retrieved.experience for c in drawn]
        guidance = Guidance(
            kind="inter",
            text=text,
            experience_ids=tuple(e.id for e in used),
            lesson_ids=tuple(e.lesson_id for e in used),
        )
        return Inter(guidance, tuple(candidates))

    def _rescored(self, problem: Problem, hits: list[Retrieved]) -> list[Retrieved]:
        if self.relevance is None or not hits:
            return hits
        scores = self.relevance.score([(problem, hit.experience) for hit in hits])
        scored = [
            hit.model_copy(update={"similarity": float(score)})
            for hit, score in zip(hits, scores, strict=True)
        ]
        return sorted(scored, key=lambda hit: -hit.similarity)

    def _filtered(self, problem: Problem, hits: list[Retrieved]) -> list[Candidate]:
        """Every candidate in order of relevance, with its weight or the reason it was dropped."""
        reasons: list[str | None] = [None] * len(hits)
        for each in self.filters:
            open_ = [i for i, reason in enumerate(reasons) if reason is None]
            verdicts = each.verdicts(problem, [hits[i] for i in open_])
            for i, verdict in zip(open_, verdicts, strict=True):
                reasons[i] = verdict
        lessons: set[str] = set()
        candidates = []
        for rank, (hit, reason) in enumerate(zip(hits, reasons, strict=True)):
            lesson = hit.experience.lesson_id
            if reason is None and lesson in lessons:
                reason = "the same lesson ranks higher"
            elif reason is None:
                lessons.add(lesson)
            weight = self._weight(hit) if reason is None else 0.0
            candidates.append(Candidate(hit, rank=rank, weight=weight, dropped=reason))
        return candidates

    def _weight(self, hit: Retrieved) -> float:
        if self.weight == "utility":
            return hit.utility
        if self.weight == "product":
            return hit.utility * hit.similarity
        # A perfect stranger with gamma 0 is still a candidate.
        return max(hit.similarity, 1e-9)

    # ------------------------------------------------------------------ intra-sample

    def intra(self, attempts: Sequence[Attempt]) -> list[Guidance]:
        """Return guidance from an earlier attempt at the same problem, one for each attempt.

        An attempt that does not fit the token budget gives no guidance: it is never cut.
        """
        reflections = self._reflector.reflect(attempts) if attempts else []
        return [
            guidance
            if self.max_tokens is None or self.count_tokens(guidance.text) <= self.max_tokens
            else Guidance()
            for guidance in reflections
        ]

    def explain(self, problem: Problem) -> Inter:
        """Return what `inter` would do for one problem, candidate by candidate."""
        return self.inter([problem])[0]


def _shortlisted(candidates: Sequence[Candidate], size: int) -> list[Candidate]:
    """The heaviest candidates; equals keep their order of relevance."""
    kept = [c for c in candidates if c.dropped is None]
    return sorted(kept, key=lambda c: -c.weight)[:size]


def _draw(shortlist: list[Candidate], n: int, seed: str | None) -> list[Candidate]:
    """Draw n without replacement with weights 1/(i+1); without a seed, the first n."""
    if seed is None:
        return shortlist[:n]
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
