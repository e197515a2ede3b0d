"""The experience pool: a store, an index over its problems, limits, receipts."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lanpo_memory.calibration import gamma_of
from lanpo_memory.errors import InvalidInputError, PoolClosedError
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast
from lanpo_memory.problems import ProblemTable
from lanpo_memory.protocols import (
    Embedder,
    ExperienceFilter,
    ExperienceStore,
    ProblemFilter,
    Retriever,
)
from lanpo_memory.reindex import claim, recorded_embedder
from lanpo_memory.selection import Candidate, Selection
from lanpo_memory.snapshots import digest_of_store, header, read_snapshot, write_snapshot
from lanpo_memory.stores import MemoryStore, open_store
from lanpo_memory.types import (
    Attempt,
    Batch,
    Change,
    Experience,
    Hit,
    Limits,
    Problem,
    Promise,
    Receipt,
    Retrieved,
)
from lanpo_memory.utility import Utility, UtilityLedger

if TYPE_CHECKING:
    from lanpo_memory.embedders import CachedEmbedder

__all__ = ["ExperiencePool", "open_pool"]


class ExperiencePool:
    """Experiences that can be searched by problem, under constant writes.

    Thread-safe. Other processes that write to the same store are followed through its change log:
    every reading call first takes in what is new.

    Args:
        store: where the records live.
        retriever: search over problems. By default BM25, with an embedder the best of BM25 ordered
            by cosine. Without an embedder similarity is lexical: `retriever.fingerprint` says so.
        embedder: texts to vectors. They are kept in the store, each text is embedded once in its
            life, and the pool belongs to this embedder from then on.
        limits: capacity 32 and at most 8 new experiences a problem and step by default.
        clock: seconds since the epoch, for `created_at`.
        decay: how fast evidence about a lesson's utility fades, per exposure.

    Raises:
        EmbedderMismatchError: the pool belongs to another embedder.

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
        embedder: Embedder | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        decay: float = 0.9,
    ) -> None:
        self.store: ExperienceStore = MemoryStore() if store is None else store
        self.embedder: CachedEmbedder | None = None
        for name, part in (("embedder", embedder), ("retriever", retriever)):
            if isinstance(part, str):
                raise InvalidInputError(
                    f"{name}={part!r} is a name; give an object, such as "
                    "SentenceTransformerEmbedder(name) or BM25Retriever()"
                )
        if embedder is not None:
            claim(self.store, embedder.fingerprint)
            self.embedder = _cached(embedder, self.store)
        self.retriever: Retriever = _retriever(self.embedder) if retriever is None else retriever
        self.limits = Limits() if limits is None else limits
        self._clock = clock
        self._utility = UtilityLedger(decay=decay)
        self._problems = ProblemTable()
        self._lock = threading.RLock()
        self._closed = False
        with self.store.view():
            self._seen = self._booked = self.store.changes(0, limit=0).head
            self._size = self.store.count("experience")
            problems = self.store.read("problem")
            self._utility.book(self.store.scan("exposure"))
        self._index(problems, [])
        self._flush()

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
        self.sync()
        return self._size

    def close(self) -> None:
        """Release the store. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._flush()
        finally:
            self.store.close()

    def _flush(self) -> None:
        if self.embedder is not None:
            self.embedder.flush()

    # ------------------------------------------------------------------ writing

    def add(self, experiences: Sequence[Experience]) -> list[Receipt]:
        """Add experiences durably, in one transaction; one receipt each, in the same order."""
        _check_list(experiences)
        return self.write(Batch(experiences=tuple(experiences)))

    def delete(self, ids: Sequence[str]) -> list[Receipt]:
        """Delete experiences by id; an unknown id gets a ``rejected`` receipt."""
        return self.write(Batch(deletions=tuple(ids)))

    def write(self, batch: Batch) -> list[Receipt]:
        """Write experiences, attempts, exposures, failures and deletions in one transaction."""
        self._check_open()
        stamped = batch._with(now=self._clock())
        receipts = self.store.write(stamped, limits=self.limits, worth=self._worth())
        self.sync()
        self._flush()
        return receipts

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError("the pool is closed; open it again with open_pool")

    def _worth(self) -> Callable[[str], float] | None:
        if self.limits.by == "fifo":
            return None
        self.sync()
        return partial(self._utility.upper_bound, min_exposures=self.limits.min_exposures)

    def sync(self) -> int:
        """Take in what any process wrote since the last call; return the number of changes."""
        self._check_open()
        with self._lock:
            total = 0
            while True:
                items, head = self.store.changes(self._seen)
                if not items:
                    self._seen = max(self._seen, head)
                    return total
                total += len(items)
                self._follow(items)
                self._seen = items[-1].seq

    def _follow(self, items: Sequence[Change]) -> None:
        touched: dict[str, None] = {}
        exposures: list[Change] = []
        grown = 0
        for change in items:
            _, op, kind, _, problem_id = change
            if kind == "experience":
                touched[problem_id] = None
                grown += 1 if op == "add" else -1
            elif kind == "exposure":
                exposures.append(change)
        if touched:
            present = self.store.read("problem", problems=list(touched))
            self._index(present, sorted(touched.keys() - {p.id for p in present}))
        self._book([c for c in exposures if c.seq > self._booked])
        self._size += grown  # last: what failed above is followed again

    def _book(self, exposures: Sequence[Change]) -> None:
        if any(c.op != "add" for c in exposures):
            self._utility.clear()
            with self.store.view():
                # Everything as of now, which is further than this piece of the log goes.
                self._booked = self.store.changes(0, limit=0).head
                self._utility.book(self.store.scan("exposure"))
        elif exposures:
            self._utility.book(self.store.read("exposure", ids=[c.id for c in exposures]))

    def _index(self, present: Sequence[Problem], gone: Sequence[str]) -> None:
        # After `restore` a problem may stand there with another text than before.
        new = [p for p in present if not self._problems.holds(p)]
        self.retriever.update(new, [*gone, *(p.id for p in new if p.id in self._problems)])
        self._problems.put(new)
        self._problems.drop(gone)

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
        ordered newest first. A filter that is a `ProblemFilter`, too, is asked before anything is
        read; of the rest, no more is read than `k` takes.
        """
        _check_search(problems, k=k, width=width, newest=newest)
        self.sync()
        early = [f for f in filters if isinstance(f, ProblemFilter)]
        late = [f for f in filters if not isinstance(f, ProblemFilter)]
        hits_P = self.retriever.retrieve(problems, k=width)
        found_P: list[list[Retrieved]] = [[] for _ in problems]
        start, size = 0, -(-k // newest)
        while unfinished := [
            i for i, hits in enumerate(hits_P) if len(found_P[i]) < k and len(hits) > start
        ]:
            # In growing portions, until each problem has its k: the rest is never looked at.
            portions = {
                i: self._sieved(problems[i], hits_P[i][start : start + size], early)
                for i in unfinished
            }
            by_problem = self._experiences_of(portions.values(), newest)
            for i, hits in portions.items():
                found_P[i] += self._retrieved(problems[i], hits, by_problem, late)
            start, size = start + size, 2 * size
        return [found[:k] for found in found_P]

    def _sieved(
        self, problem: Problem, hits: Sequence[Hit], filters: Sequence[ProblemFilter]
    ) -> list[Hit]:
        """The hits whose problems are still there and pass the filters."""
        kept = [hit for hit in hits if hit.problem_id in self._problems]
        for each in filters:
            others = [self._problems[hit.problem_id] for hit in kept]
            verdicts = each.problem_verdicts(problem, others, [hit.similarity for hit in kept])
            kept = [hit for hit, reason in zip(kept, verdicts, strict=True) if reason is None]
        return kept

    def _experiences_of(
        self, portions: Iterable[Sequence[Hit]], newest: int
    ) -> Mapping[str, list[Experience]]:
        wanted = list(dict.fromkeys(hit.problem_id for hits in portions for hit in hits))
        by_problem: defaultdict[str, list[Experience]] = defaultdict(list)
        if wanted:
            for experience in self.store.read("experience", problems=wanted, newest=newest):
                by_problem[experience.problem.id].append(experience)
        return by_problem

    def _retrieved(
        self,
        problem: Problem,
        hits: Sequence[Hit],
        by_problem: Mapping[str, list[Experience]],
        filters: Sequence[ExperienceFilter],
    ) -> list[Retrieved]:
        found = [
            Retrieved._made(
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

    def explain(
        self,
        problem: Problem,
        *,
        selection: Selection | None = None,
        gamma: float | None = None,
        filters: Sequence[ExperienceFilter] = (),
        seed: str | None = None,
        width: int = 32,
        newest: int = 4,
    ) -> list[Candidate]:
        """Return the fate of every candidate for inter-sample guidance, most similar first.

        For the default settings, or those given; `Guide.explain` does it for those of a guide.

        >>> pool = ExperiencePool()
        >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), principles=("Pair the ends.",))
        >>> receipts = pool.add([lesson])
        >>> [c.dropped for c in pool.explain(Problem(text="sum 1 to 9."))]
        ['the same problem, reworded']
        """
        gamma = self.default_gamma if gamma is None else gamma
        same = NotSameProblem(embedder=self.embedder)
        hits = self.retrieve([problem], k=width * newest, width=width, newest=newest)[0]
        selection = Selection() if selection is None else selection
        chosen = selection.choose(
            problem, hits, (SimilarityAtLeast(gamma), same, *filters), seed=seed
        )
        return list(chosen.candidates)

    @property
    def default_gamma(self) -> float:
        """The gamma calibrated for this pool's retriever, else the retriever's own default."""
        return gamma_of(self.store, self.retriever)

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
        outcomes: Counter[str] = Counter()
        sources: Counter[str] = Counter()
        lessons: set[str] = set()
        steps: set[int] = set()
        names = {True: "correct", False: "wrong", None: "unknown"}
        with self.store.view():
            counts = {f"{kind}s": self.store.count(kind) for kind in _COUNTED}
            for e in self.store.scan("experience"):
                outcomes[names[e.metadata.correct]] += 1
                sources[e.metadata.source or "unknown"] += 1
                lessons.add(e.lesson_id)
                steps.add(e.metadata.step)
        return {
            **counts,
            "lessons": len(lessons),
            "outcomes": dict(outcomes),
            "sources": dict(sources),
            "steps": [min(steps), max(steps)] if steps else [],
        }

    # ------------------------------------------------------------------ whole pools

    def digest(self) -> str:
        """Return a hash of the content: ids, steps, rewards, verdicts, parents, and their order.

        It covers experiences, attempts and exposures in their order per problem, and no wall-clock
        or sequence number, so that two runs or two backends can be compared.
        """
        return digest_of_store(self.store)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield everything as plain dictionaries, a header first, each kind oldest first."""
        counts = {f"{kind}s": self.store.count(kind) for kind in _COUNTED if kind != "problem"}
        keeps_more = Promise.CACHE in self.store.promises
        yield header(
            digest=self.digest(),
            experiences=counts["experiences"],
            embedder=recorded_embedder(self.store) if keeps_more else None,
            counts=counts,
        )
        for kind in ("experience", "attempt", "exposure", "failure"):
            for record in self.store.scan(kind):
                yield {"kind": kind, **record.model_dump(mode="json")}

    def snapshot(self, path: str | Path) -> Path:
        """Write everything, as of one moment, to one JSON Lines file; return its path.

        The file appears whole or not at all. In an existing folder it is named by its content:
        ``<digest>.jsonl``.

        Raises:
            PoolWriteError: the folder is missing, or the disk refused.
        """
        with self.store.view():
            return write_snapshot(Path(path), self.records())

    def restore(self, path: str | Path) -> None:
        """Replace this pool's content by a snapshot's, in one transaction.

        Afterwards `digest` is what it was when the snapshot was written.

        Raises:
            PoolNotFoundError: there is no such file.
            PoolFormatError: the file is no snapshot, or it is damaged. The pool is as it was.
        """
        batch = read_snapshot(path)
        self.store.write(batch.model_copy(update={"replace": True}), limits=_NO_LIMITS)
        self.sync()


_BUFFER = 512  # vectors of new questions that wait for the next write: derived data
_COUNTED = ("problem", "experience", "attempt", "exposure", "failure")
_NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)


# Search brings numpy along: it comes with the first pool, not with the import.


def _cached(embedder: Embedder, store: ExperienceStore) -> CachedEmbedder:
    from lanpo_memory.embedders import CachedEmbedder

    return CachedEmbedder(embedder, store, buffer=_BUFFER)


def _retriever(embedder: Embedder | None) -> Retriever:
    from lanpo_memory.retrievers import BM25Retriever, CosineRetriever

    return BM25Retriever() if embedder is None else CosineRetriever(BM25Retriever(), embedder)


def _check_list(experiences: Any) -> None:
    if isinstance(experiences, Experience):
        raise InvalidInputError("give a list of experiences, also for one: add([experience])")


def _check_search(problems: Any, **numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise InvalidInputError(f"{name} must be at least 1, got {value!r}")
    if isinstance(problems, str | Problem):
        raise InvalidInputError("give a list of problems, also for one: retrieve([problem])")
    for problem in problems:
        if not isinstance(problem, Problem):
            raise InvalidInputError(
                f"got a {type(problem).__name__} where a Problem is needed: Problem(text=...)"
            )


def open_pool(
    url: str | Path = "memory:",
    *,
    namespace: str = "default",
    create: bool = True,
    **options: Any,
) -> ExperiencePool:
    """Open a pool by its address.

    ``memory:`` lives in this process; ``sqlite:///pool.db`` or a plain path is one file;
    ``chroma:///folder`` is a folder of Chroma's, ``chroma+http://host:port/collection`` a server
    of it; ``postgresql://user@host/database`` a database. `options` go to `ExperiencePool`.

    Raises:
        PoolURLError: the scheme is unknown.
        MissingExtraError: the store needs a package that is not installed.
        PoolNotFoundError: nothing is there and `create` is false.
        PoolFormatError: what is there is not a pool.
        PoolConnectionError: the server cannot be reached.

    >>> with open_pool("memory:") as pool:
    ...     len(pool)
    0
    """
    store = open_store(url, namespace=namespace, create=create)
    try:
        return ExperiencePool(store, **options)
    except BaseException:
        store.close()
        raise
