"""The one path from a problem to guidance: retrieve, relevance, filter, sample, render."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lanpo_memory.calibration import gamma_of
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Abstractor, ExperienceFilter, Prompts, Reflector, Relevance
from lanpo_memory.reflectors import InRolloutReflector
from lanpo_memory.selection import (
    OVER_BUDGET,
    Candidate,
    RetrievalWeight,
    Selection,
    approximate_tokens,
)
from lanpo_memory.types import Attempt, Experience, Failure, Guidance, Problem, Retrieved

__all__ = ["Candidate", "Guide", "Inter", "RetrievalWeight", "approximate_tokens", "uniform"]


def uniform(*key: object) -> float:
    """A number in [0, 1) made from a key by hashing: the same on every rank and in every run.

    >>> uniform(0, 5, "problem") == uniform(0, 5, "problem")
    True
    """
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, slots=True)
class Inter:
    """Inter-sample guidance for one problem, with the fate of every candidate.

    `abstracted` is what an abstractor made of the experiences used, and what the guidance shows.
    """

    guidance: Guidance
    candidates: tuple[Candidate, ...]
    abstracted: Experience | None = None

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
        return sum(c.dropped == OVER_BUDGET for c in self.candidates)


class Guide:
    """Turns a pool into guidance.

    Relevance decides which experiences are candidates; `weight` decides by what they are sorted;
    the top `shortlist` are drawn from with weights 1/(i+1) without replacement.

    Args:
        pool: where the experiences are.
        prompts: the language of the roles; English by default.
        relevance: a scorer that replaces the retriever's own similarity.
        gamma: the least similarity, in the scorer's own unit; `None` takes what was calibrated for
            this scorer and pool, else the scorer's default.
        filters: further filters, after relevance. The problem itself is always left out.
        drop_templates: leave out the same template with other numbers, too: for evaluation.
        weight: sort candidates by relevance, by utility, by their product, or newest first.
        experiences: how many go into one prompt at most.
        shortlist: how many of the best are drawn from.
        max_tokens: budget for the guidance text; whole experiences are left out to meet it.
        count_tokens: how long a text is; about four characters a token by default.
        max_prompt_tokens: budget for guidance and bare prompt together; met in the same way.
        prompt_tokens: how long a problem's bare prompt is; by default that of `prompts.solve`.
        abstractor: rewrites the experiences chosen as principles and pitfalls for the problem at
            hand, the second step of relevant abstraction (arXiv 2510.16552 §4). It asks its own
            model, once for each problem with guidance. What it cannot do, or what is over the
            budget then, is shown as it was.
        reflector: makes intra-sample guidance from an attempt.
        width: how many problems search looks at.
        newest: how many of each problem's experiences it looks at.

    Raises:
        ConfigError: a setting out of range.
        InvalidInputError: `pool` is none.

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
        drop_templates: bool = False,
        weight: RetrievalWeight = "relevance",
        experiences: int = 1,
        shortlist: int = 4,
        max_tokens: int | None = None,
        count_tokens: Callable[[str], int] = approximate_tokens,
        max_prompt_tokens: int | None = None,
        prompt_tokens: Callable[[Problem], int] | None = None,
        abstractor: Abstractor | None = None,
        reflector: Reflector | None = None,
        width: int = 32,
        newest: int = 4,
    ) -> None:
        if not isinstance(pool, ExperiencePool):
            raise InvalidInputError(
                f"a guide needs a pool, got a {type(pool).__name__}: open_pool(path) opens one"
            )
        self.selection = Selection(
            weight=weight,
            experiences=experiences,
            shortlist=shortlist,
            max_tokens=max_tokens,
            count_tokens=count_tokens,
            prompts=EnglishPrompts() if prompts is None else prompts,
        )
        self.pool = pool
        self.prompts: Prompts = self.selection.prompts
        self.relevance = relevance
        scorer = pool.retriever if relevance is None else relevance
        self.fingerprint = scorer.fingerprint
        self.gamma = gamma_of(pool.store, scorer) if gamma is None else gamma
        self._near = NotSameProblem(drop_templates=drop_templates, embedder=pool.embedder)
        self._close = SimilarityAtLeast(self.gamma)
        self._further = tuple(filters)
        self.filters: tuple[ExperienceFilter, ...] = (self._close, self._near, *filters)
        self.max_tokens, self.count_tokens = max_tokens, count_tokens
        self.max_prompt_tokens = max_prompt_tokens
        self._prompt_tokens = self._bare_tokens if prompt_tokens is None else prompt_tokens
        self.judging_seconds = 0.0
        self._abstractor = abstractor
        self._reflector = reflector or InRolloutReflector(self.prompts)
        self._width, self._newest = width, newest

    # ------------------------------------------------------------------ inter-sample

    def inter(
        self, problems: Sequence[Problem], *, seeds: Sequence[str] | None = None
    ) -> list[Inter]:
        """Return inter-sample guidance for each problem, with the fate of its candidates.

        With one seed per problem the experiences are drawn; without, the best are taken. What
        cannot come into the shortlist is not read and not listed: `explain` lists all.
        """
        # A relevance has the last word on similarity, and is not asked about what is ruled out.
        known = self._close if self.relevance is None else None
        early = [f for f in (known, self._near, *self._further) if f is not None]
        late = [] if self.relevance is None else [self._close]
        found = self._rescored(problems, self._candidates(problems, early))
        chosen = [
            self._inter(problem, hits, late, None if seeds is None else seeds[i])
            for i, (problem, hits) in enumerate(zip(problems, found, strict=True))
        ]
        return chosen if self._abstractor is None else self._abstracted(problems, chosen)

    def _abstracted(self, problems: Sequence[Problem], chosen: list[Inter]) -> list[Inter]:
        """Show what the chosen experiences mean for each problem, in their place."""
        assert self._abstractor is not None
        guided = [i for i, inter in enumerate(chosen) if inter.used]
        items = [(problems[i], [c.retrieved for c in chosen[i].used]) for i in guided]
        for i, (problem, used), made in zip(
            guided, items, self._abstractor.abstract(items) if items else [], strict=True
        ):
            if isinstance(made, Failure):
                continue
            text = self.prompts.inter(problem, [used[0].model_copy(update={"experience": made})])
            if self._fits(problem, text):
                guidance = chosen[i].guidance.model_copy(update={"text": text})
                chosen[i] = replace(chosen[i], guidance=guidance, abstracted=made)
        return chosen

    def _candidates(
        self, problems: Sequence[Problem], filters: Sequence[ExperienceFilter]
    ) -> list[list[Retrieved]]:
        """As many hits as it takes: all, or, where they come in order already, a shortlist's."""
        if self.relevance is not None or self.selection.weight != "relevance":
            return self._retrieved(problems, filters)
        size = self.selection.shortlist
        found = self._retrieved(problems, filters, k=2 * size)
        short = [
            i
            for i, hits in enumerate(found)
            if len(hits) == 2 * size and len({h.experience.lesson_id for h in hits}) < size
        ]
        if short:  # the same lesson again and again
            for i, hits in zip(
                short, self._retrieved([problems[i] for i in short], filters), strict=True
            ):
                found[i] = hits
        return found

    def _retrieved(
        self,
        problems: Sequence[Problem],
        filters: Sequence[ExperienceFilter],
        k: int | None = None,
    ) -> list[list[Retrieved]]:
        return self.pool.retrieve(
            problems,
            k=self._width * self._newest if k is None else k,
            filters=filters,
            width=self._width,
            newest=self._newest,
        )

    def _inter(
        self,
        problem: Problem,
        hits: list[Retrieved],
        filters: Sequence[ExperienceFilter],
        seed: str | None,
    ) -> Inter:
        chosen = self.selection.choose(
            problem, hits, filters, seed=seed, max_tokens=self.budget(problem)
        )
        used = [c.retrieved.experience for c in chosen.candidates if c.used]
        if not used:
            return Inter(Guidance(), chosen.candidates)
        guidance = Guidance(
            kind="inter",
            text=chosen.text,
            experience_ids=tuple(e.id for e in used),
            lesson_ids=tuple(e.lesson_id for e in used),
        )
        return Inter(guidance, chosen.candidates)

    def _rescored(
        self, problems: Sequence[Problem], found: list[list[Retrieved]]
    ) -> list[list[Retrieved]]:
        """Hits by relevance, best first: all pairs are scored in one call."""
        pairs = [(p, hit) for p, hits in zip(problems, found, strict=True) for hit in hits]
        if self.relevance is None or not pairs:
            return found
        scores = iter(self._scored([(p, hit.experience) for p, hit in pairs]))
        return [
            sorted(
                (hit.model_copy(update={"similarity": float(next(scores))}) for hit in hits),
                key=lambda hit: -hit.similarity,
            )
            for hits in found
        ]

    def _scored(self, pairs: Sequence[tuple[Problem, Experience]]) -> list[float]:
        assert self.relevance is not None
        started = time.perf_counter()
        scores = [float(score) for score in self.relevance.score(pairs)]
        self.judging_seconds += time.perf_counter() - started
        if len(scores) != len(pairs) or not all(0.0 <= score <= 1.0 for score in scores):
            raise InvalidInputError(
                f"{type(self.relevance).__name__}.score has to return one number in 0..1 for each "
                f"of {len(pairs)} pairs, got {len(scores)}: {scores[:5]}"
            )
        return scores

    def best_similarities(self, problems: Sequence[Problem]) -> list[float]:
        """Return the similarity of each problem's best candidate, whatever gamma is, else -1."""
        found = self._retrieved(problems, [self._near, *self._further])
        return [
            max((hit.similarity for hit in hits), default=-1.0)
            for hits in self._rescored(problems, found)
        ]

    def explain(self, problem: Problem, *, seed: str | None = None) -> Inter:
        """Return what `inter` would do for one problem, with the fate of every candidate.

        No more is asked of a relevance than `inter` asks, and nothing of an abstractor. What other
        filters rule out comes last then, with the retriever's similarity.
        """
        hits = self._retrieved([problem], [])[0]
        if self.relevance is None:
            return self._inter(problem, hits, self.filters, seed)
        early = (self._near, *self._further)
        ruled_out: set[str] = set()
        for each in early:
            verdicts = zip(hits, each.verdicts(problem, hits), strict=True)
            ruled_out |= {hit.experience.id for hit, reason in verdicts if reason is not None}
        kept = [hit for hit in hits if hit.experience.id not in ruled_out]
        rest = [hit for hit in hits if hit.experience.id in ruled_out]
        scored = [*self._rescored([problem], [kept])[0], *rest]
        return self._inter(problem, scored, (*early, self._close), seed)

    # ------------------------------------------------------------------ intra-sample

    def intra(self, attempts: Sequence[Attempt]) -> list[Guidance]:
        """Return guidance from an earlier attempt at the same problem, one for each attempt.

        An attempt that does not fit the token budget gives no guidance: it is never cut. A critique
        that does not fit beside it is left out.
        """
        reflections = self._reflector.reflect(attempts) if attempts else []
        return [self._within_budget(guidance) for guidance in reflections]

    def _within_budget(self, guidance: Guidance) -> Guidance:
        if guidance.attempt is None or self._fits(guidance.attempt.problem, guidance.text):
            return guidance
        if not guidance.critique:
            return Guidance()
        bare = {"text": self.prompts.intra(guidance.attempt), "critique": ""}
        return self._within_budget(guidance.model_copy(update=bare))

    # ------------------------------------------------------------------ budgets

    def budget(self, problem: Problem) -> int | None:
        """Return how many tokens a problem's guidance may have, `None` for any number."""
        if self.max_prompt_tokens is None:
            return self.max_tokens
        room = max(0, self.max_prompt_tokens - self._prompt_tokens(problem))
        return room if self.max_tokens is None else min(room, self.max_tokens)

    def _fits(self, problem: Problem, text: str) -> bool:
        budget = self.budget(problem)
        return budget is None or self.count_tokens(text) <= budget

    def _bare_tokens(self, problem: Problem) -> int:
        return sum(self.count_tokens(str(m["content"])) for m in self.prompts.solve(problem))
