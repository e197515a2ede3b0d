"""The experience pool: a store, an index over its problems, limits, receipts."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lanpo_memory.errors import InvalidInputError, PoolFormatError, PoolURLError
from lanpo_memory.protocols import ExperienceFilter, ExperienceStore, Retriever
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.snapshots import FORMAT, read_snapshot, write_lines
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.types import (
    SCHEMA_VERSION,
    Attempt,
    Batch,
    Change,
    Experience,
    Hit,
    Limits,
    Problem,
    Receipt,
    Retrieved,
)
from lanpo_memory.utility import Utility, UtilityLedger

__all__ = ["ExperiencePool", "open_pool"]


class ExperiencePool:
    """Experiences that can be searched by problem, under constant writes.

    Thread-safe. Other processes that write to the same store are followed through its change log:
    every reading call first takes in what is new.

    Args:
        store: where the records live.
        retriever: search over problems; BM25 by default.
        limits: capacity 32 and at most 8 new experiences a problem and step by default.
        clock: seconds since the epoch, for `created_at`.
        decay: how fast evidence about a lesson's utility fades, per exposure.

    >>> pool = ExperiencePool()
    >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), principles=("Pair the ends.",))
    >>> pool.add([lesson])[0].status
    'added'
    >>> pool.retrieve([Problem(text="Sum 1 to 99")])[0][0].experience.principles
    ('Pair the ends.',)
    """

    def __init__(
        self,
        store: ExperienceStore | None = None,
        *,
        retriever: Retriever | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        decay: float = 0.9,
    ) -> None:
        self.store: ExperienceStore = MemoryStore() if store is None else store
        self.retriever: Retriever = BM25Retriever() if retriever is None else retriever
        self.limits = Limits() if limits is None else limits
        self._clock = clock
        self._utility = UtilityLedger(decay=decay)
        self._lock = threading.RLock()
        self._seen = self.store.changes(0, limit=0).head
        self.retriever.update(self.store.read("problem"), [])
        self._utility.book(self.store.read("exposure"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.store.count("experience")

    def close(self) -> None:
        """Release the store."""
        self.store.close()

    # ------------------------------------------------------------------ writing

    def add(self, experiences: Sequence[Experience]) -> list[Receipt]:
        """Add experiences durably, in one transaction; one receipt each, in the same order."""
        return self.write(Batch(experiences=tuple(experiences)))

    def delete(self, ids: Sequence[str]) -> list[Receipt]:
        """Delete experiences by id; an unknown id gets a ``rejected`` receipt."""
        return self.write(Batch(deletions=tuple(ids)))

    def write(self, batch: Batch) -> list[Receipt]:
        """Write experiences, attempts, exposures, failures and deletions in one transaction."""
        now = self._clock()
        stamped = batch.model_copy(
            update={"experiences": tuple(_stamped(e, now) for e in batch.experiences)}
        )
        receipts = self.store.write(stamped, limits=self.limits)
        self.sync()
        return receipts

    def sync(self) -> int:
        """Take in what any process wrote since the last call; return the number of changes."""
        with self._lock:
            total = 0
            while True:
                changes = self.store.changes(self._seen)
                if not changes.items:
                    return total
                total += len(changes.items)
                self._follow(changes.items)
                self._seen = changes.items[-1].seq

    def _follow(self, items: Sequence[Change]) -> None:
        touched = list(dict.fromkeys(c.problem_id for c in items if c.kind == "experience"))
        if touched:
            present = self.store.read("problem", problems=touched)
            gone = set(touched) - {p.id for p in present}
            self.retriever.update(present, sorted(gone))
        exposures = [c for c in items if c.kind == "exposure"]
        if any(c.op != "add" for c in exposures):
            self._utility.clear()
            self._utility.book(self.store.read("exposure"))
        elif exposures:
            self._utility.book(self.store.read("exposure", ids=[c.id for c in exposures]))

    # ------------------------------------------------------------------ reading

    def retrieve(
        self,
        problems: Sequence[Problem],
        *,
        k: int = 8,
        filters: Sequence[ExperienceFilter] = (),
        width: int = 32,
        newest: int = 4,
    ) -> list[list[Retrieved]]:
        """Return at most `k` experiences for each problem, most similar first.

        Unfiltered unless `filters` are given: the problem's own experiences come back too. Search
        looks at `width` problems and the `newest` experiences of each; equally similar ones are
        ordered newest first.
        """
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, got {k}")
        self.sync()
        hits_P = self.retriever.retrieve(problems, k=width)
        by_problem = self._experiences_of(hits_P, newest)
        return [
            self._ranked(problem, hits, by_problem, filters)[:k]
            for problem, hits in zip(problems, hits_P, strict=True)
        ]

    def _experiences_of(
        self, hits_P: Sequence[Sequence[Hit]], newest: int
    ) -> Mapping[str, list[Experience]]:
        wanted = list(dict.fromkeys(hit.problem_id for hits in hits_P for hit in hits))
        by_problem: defaultdict[str, list[Experience]] = defaultdict(list)
        if wanted:
            for experience in self.store.read("experience", problems=wanted, newest=newest):
                by_problem[experience.problem.id].append(experience)
        return by_problem

    def _ranked(
        self,
        problem: Problem,
        hits: Sequence[Hit],
        by_problem: Mapping[str, list[Experience]],
        filters: Sequence[ExperienceFilter],
    ) -> list[Retrieved]:
        found = [
            Retrieved(
                experience=experience,
                score=hit.score,
                similarity=hit.similarity,
                utility=self._utility.mean(experience.lesson_id),
            )
            for hit in hits
            for experience in reversed(by_problem.get(hit.problem_id, []))
        ]
        for each in filters:
            verdicts = each.verdicts(problem, found)
            found = [hit for hit, reason in zip(found, verdicts, strict=True) if reason is None]
        return found

    def get(self, ids: Sequence[str]) -> list[Experience | None]:
        """Return experiences by id, in the same order, `None` where there is none."""
        found = {e.id: e for e in self.store.read("experience", ids=ids)}
        return [found.get(i) for i in ids]

    def attempts(self, problem: Problem) -> list[Attempt]:
        """Return the stored attempts at a problem, newest first."""
        return self.store.read("attempt", problems=[problem.id])[::-1]

    def attempts_of(self, problems: Sequence[Problem]) -> list[list[Attempt]]:
        """Return the stored attempts at each problem, newest first."""
        by_problem: defaultdict[str, list[Attempt]] = defaultdict(list)
        ids = list(dict.fromkeys(p.id for p in problems))
        for attempt in self.store.read("attempt", problems=ids) if ids else []:
            by_problem[attempt.problem.id].append(attempt)
        return [by_problem[p.id][::-1] for p in problems]

    def utility(self) -> dict[str, Utility]:
        """Return the record of every lesson that was ever shown, by lesson id."""
        self.sync()
        return self._utility.table()

    def stats(self) -> dict[str, Any]:
        """Return counts of records, and of experiences by source and outcome."""
        experiences = self.store.read("experience")
        outcomes = {True: "correct", False: "wrong", None: "unknown"}
        return {
            **{f"{kind}s": self.store.count(kind) for kind in ("problem", "experience")},
            **{f"{kind}s": self.store.count(kind) for kind in ("attempt", "exposure", "failure")},
            "lessons": len({e.lesson_id for e in experiences}),
            "outcomes": dict(Counter(outcomes[e.metadata.correct] for e in experiences)),
            "sources": dict(Counter(e.metadata.source or "unknown" for e in experiences)),
            "steps": [f(e.metadata.step for e in experiences) for f in (min, max)]
            if experiences
            else [],
        }

    # ------------------------------------------------------------------ whole pools

    def digest(self) -> str:
        """Return a hash of the content: ids, steps, rewards, verdicts, parents, and their order.

        It covers experiences, attempts and exposures in their order per problem, and no wall-clock
        or sequence number, so that two runs or two backends can be compared.
        """
        lines: defaultdict[str, list[Any]] = defaultdict(list)
        for e in self.store.read("experience"):
            m = e.metadata
            lines[e.problem.id].append(["e", e.id, m.step, m.reward, m.correct, m.parents])
        for a in self.store.read("attempt"):
            lines[a.problem.id].append(["a", a.id, a.step])
        for x in self.store.read("exposure"):
            lines[x.problem_id].append(["x", x.id, x.guided, x.scratch, x.group_size])
        return hashlib.sha256(json.dumps(sorted(lines.items())).encode()).hexdigest()

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield everything as plain dictionaries, a header first, each kind oldest first."""
        yield {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "digest": self.digest(),
            "experiences": self.store.count("experience"),
        }
        for kind in ("experience", "attempt", "exposure", "failure"):
            for record in self.store.read(kind):
                yield {"kind": kind, **record.model_dump(mode="json")}

    def snapshot(self, path: str | Path) -> Path:
        """Write everything to one JSON Lines file, atomically; return its path."""
        return write_lines(path, self.records())

    def restore(self, path: str | Path) -> None:
        """Replace this pool's content by a snapshot's, in one transaction.

        Raises:
            PoolNotFoundError: there is no such file.
            PoolFormatError: the file is no snapshot, or it is damaged. The pool is as it was.
        """
        header, batch = read_snapshot(path)
        trial = ExperiencePool(limits=_NO_LIMITS)
        trial.write(batch)
        if trial.digest() != header.get("digest"):
            raise PoolFormatError(f"{path} is damaged: its content does not match its digest")
        self.store.write(batch.model_copy(update={"replace": True}), limits=_NO_LIMITS)
        self.sync()


_NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None)


def _stamped(experience: Experience, now: float) -> Experience:
    if experience.metadata.created_at is not None:
        return experience
    metadata = experience.metadata.model_copy(update={"created_at": now})
    return experience.model_copy(update={"metadata": metadata})


def open_pool(
    url: str | Path = "memory:",
    *,
    namespace: str = "default",
    create: bool = True,
    **options: Any,
) -> ExperiencePool:
    """Open a pool by its address; the only place that reads such a string.

    ``memory:`` lives in this process; ``sqlite:///pool.db`` or a plain path is one file.
    `options` go to `ExperiencePool`.

    Raises:
        PoolURLError: the scheme is unknown.
        PoolNotFoundError: the file is not there and `create` is false.
        PoolFormatError: the file is not a pool.

    >>> with open_pool("memory:") as pool:
    ...     len(pool)
    0
    """
    return ExperiencePool(_store(str(url), namespace, create), **options)


def _store(url: str, namespace: str, create: bool) -> ExperienceStore:
    scheme, colon, rest = url.partition(":")
    if url in ("memory:", "memory://"):
        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("///"):
        return SQLiteStore(rest.removeprefix("///"), namespace=namespace, create=create)
    if not url.strip():
        raise PoolURLError("the pool's address is empty; give a path, or memory:")
    # One letter before the colon is a Windows drive, not a scheme.
    if colon and "/" not in scheme and len(scheme) > 1 and not Path(url).exists():
        raise PoolURLError(
            f"cannot open a pool at {url!r}. Known addresses: a path, sqlite:///path, memory:"
        )
    return SQLiteStore(url, namespace=namespace, create=create)
