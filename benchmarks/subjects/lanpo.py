"""This project's pool: BM25, then cosine, then filters, then the experiences with their text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.measure import Answers, asked, folder_mb, timed
from lanpo_memory import Experience, ExperienceMetadata, ExperiencePool, Guide, Problem, open_pool
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast
from lanpo_memory.protocols import ExperienceFilter
from lanpo_memory.types import Limits, Retrieved

K = 8
GAMMA = {True: 0.6, False: 0.1}  # a cosine; a share of BM25: both leave a topic's problems
GROUP = 8
FILL_BATCH = 4_000


class LanpoPool:
    """A pool in an SQLite file.

    Args:
        folder: where the file is or will be.
        texts: the folder of the corpus.
        cosine: rank what BM25 found by cosine; without, BM25 decides alone.
        queries: how many queries to load.
        extra: whether documents beyond those of the fill may be added.
        per_problem: experiences of each problem.
    """

    def __init__(
        self,
        folder: str,
        texts: str,
        *,
        cosine: bool = True,
        queries: int | None = None,
        extra: bool = False,
        per_problem: int = 32,
    ) -> None:
        self._folder, self._texts = Path(folder), Path(texts)
        self._cosine, self._per_problem = cosine, per_problem
        self._queries = corpus.read(self._texts, "queries", stop=queries)
        self._extra = corpus.read(self._texts, "extra") if extra else None
        self._problems = [Problem(text=text) for text in self._queries.texts]
        self._filters: Sequence[ExperienceFilter] = (
            SimilarityAtLeast(GAMMA[cosine]),
            NotSameProblem(),
        )
        self._steps = 0
        self._pool: ExperiencePool | None = None

    def _opened(self) -> ExperiencePool:
        assert self._pool is not None, "ask for open first"
        return self._pool

    # ------------------------------------------------------------------ opening and filling

    def open(self) -> dict[str, float]:
        """Open the pool; the embedder's table is loaded before the clock starts."""
        known = [self._queries] if self._extra is None else [self._queries, self._extra]
        return self._open(known, Limits())

    def _open(self, known: Sequence[corpus.Split], limits: Limits) -> dict[str, float]:
        options: dict[str, Any] = {"limits": limits}
        if self._cosine:
            options["embedder"] = corpus.PrecomputedEmbedder(*known)
        started = time.perf_counter()
        self._pool = open_pool(self._folder / "pool.db", **options)
        return {"ms": 1000 * (time.perf_counter() - started)}

    def fill(self, entries: int, budget_s: float = 3600) -> dict[str, float]:
        """Add `entries` experiences in batches of 4,000, as long as the budget lasts."""
        documents = corpus.read(self._texts, "documents", stop=-(-entries // self._per_problem))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open([documents, self._queries], Limits())
        problems = [Problem(text=text) for text in documents.texts]
        started = time.perf_counter()
        for batch in _epochs(problems, self._per_problem):
            if time.perf_counter() - started > budget_s:
                break
            self._opened().add(batch)
        seconds = time.perf_counter() - started
        added = len(self._opened())
        self._opened().close()
        return {
            "entries": added,
            "problems": len(problems),
            "seconds": seconds,
            "disk_mb": folder_mb(self._folder),
        }

    def count(self) -> int:
        return len(self._opened())

    # ------------------------------------------------------------------ asking

    def query(self, start: int, stop: int) -> Answers:
        """Ask one problem at a time; the payload of every hit is read."""
        return asked(self._retrieve, [[problem] for problem in self._asked(start, stop)])

    def query_batch(self, start: int, stop: int) -> Answers:
        """Ask all problems in one call."""
        return asked(self._retrieve, [self._asked(start, stop)])

    def _asked(self, start: int, stop: int) -> list[Problem]:
        problems = self._problems[start:stop]
        assert len(problems) == stop - start, "the corpus has too few queries"
        return problems

    def _retrieve(self, problems: Sequence[Problem]) -> int:
        hits_P = self._opened().retrieve(problems, k=K, filters=self._filters)
        return sum(_read(hit) for hits in hits_P for hit in hits)

    def nearest(self, start: int, stop: int) -> list[list[str]]:
        """The texts of the 8 nearest, unfiltered; not timed."""
        hits_P = self._opened().retrieve(self._asked(start, stop), k=K)
        return [[hit.experience.problem.text for hit in hits] for hits in hits_P]

    def guide(self, start: int, stop: int) -> Answers:
        """Ask for rendered guidance, one problem at a time."""
        guided = partial(_guided, Guide(self._opened()))
        return asked(guided, [[problem] for problem in self._asked(start, stop)])

    def guide_batch(self, start: int, stop: int) -> Answers:
        """Ask for the rendered guidance of all problems in one call."""
        return asked(partial(_guided, Guide(self._opened())), [self._asked(start, stop)])

    # ------------------------------------------------------------------ adding

    def add_groups(self, problems: int, group: int) -> dict[str, Any]:
        """Add a group of new experiences for each of some stored problems, in one durable call."""
        self._steps += 1
        chosen = corpus.read(self._texts, "documents", stop=problems)
        known = [Problem(text=text) for text in chosen.texts]
        batch = [
            _experience(problem, f"later.{self._steps}.{i}.{g}", step=10_000 + self._steps)
            for i, problem in enumerate(known)
            for g in range(group)
        ]
        before = self.count()
        started = time.perf_counter()
        receipts = self._opened().add(batch)
        ms = 1000 * (time.perf_counter() - started)
        statuses = Counter(receipt.status for receipt in receipts)
        return {"ms": ms, "receipts": dict(statuses), "grown": self.count() - before}

    def add(self, start: int, stop: int) -> dict[str, float]:
        """Add new documents, one experience each, in one durable call."""
        assert self._extra is not None
        texts = self._extra.texts[start:stop]
        batch = [_experience(Problem(text=t), f"extra.{i}") for i, t in enumerate(texts, start)]
        return {"ms": timed(self._opened().add, batch)}


def _epochs(problems: Sequence[Problem], per_problem: int) -> Iterator[list[Experience]]:
    """The batches of a run: each epoch visits every problem once, with a group of at most 8.

    So the experiences of one problem lie apart in the file, as training would leave them.
    """
    group = min(GROUP, per_problem)
    size = FILL_BATCH // group
    step = 0
    for epoch in range(per_problem // group):
        for start in range(0, len(problems), size):
            yield [
                _experience(problem, f"{i}.{epoch}.{g}", step)
                for i, problem in enumerate(problems[start : start + size], start)
                for g in range(group)
            ]
            step += 1


def _experience(problem: Problem, name: str, step: int = 0) -> Experience:
    thoughts, principles, pitfalls = corpus.lesson(name)
    return Experience(
        problem=problem,
        thoughts=thoughts,
        principles=principles,
        pitfalls=pitfalls,
        metadata=ExperienceMetadata(step=step, reward=1.0, correct=True, source="benchmark"),
    )


def _read(hit: Retrieved) -> int:
    """Touch the payload, so that a store that reads late would be seen to."""
    return bool(hit.experience.thoughts and hit.experience.principles)


def _guided(guide: Guide, problems: Sequence[Problem]) -> int:
    inters = guide.inter(problems, seeds=[problem.id for problem in problems])
    return sum(bool(inter.guidance.text) for inter in inters)
