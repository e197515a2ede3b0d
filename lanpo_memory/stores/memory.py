"""A store in this process's memory: for tests, notebooks and short runs."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, Literal

from lanpo_memory.errors import PromiseError
from lanpo_memory.stores.receipts import (
    NOTHING_TO_DELETE,
    refusal,
    settled,
    unknown_kind,
    verdict,
)
from lanpo_memory.types import (
    Attempt,
    Batch,
    Change,
    Changes,
    Experience,
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
    Promise,
    Receipt,
)

__all__ = ["MemoryStore"]

_Kind = Literal["experience", "attempt", "exposure", "failure"]
_KINDS: tuple[_Kind, ...] = ("experience", "attempt", "exposure", "failure")
_Record = Experience | Attempt | Exposure | FailedAnswer


def _problem_id(record: _Record) -> str:
    return record.problem.id if isinstance(record, Experience | Attempt) else record.problem_id


class MemoryStore:
    """Keeps everything in dictionaries; gone when the process ends.

    Raises:
        PromiseError: it has one namespace, ``default``, and another one is asked for.

    >>> store = MemoryStore()
    >>> problem = Problem(text="2 + 3?")
    >>> batch = Batch(experiences=(Experience(problem=problem, thoughts="count"),))
    >>> [r.status for r in store.write(batch, limits=Limits())]
    ['added']
    """

    promises = frozenset({Promise.ATOMIC, Promise.CHANGE_LOG, Promise.CACHE})

    def __init__(self, *, namespace: str = "default") -> None:
        if namespace != "default":
            raise PromiseError(
                f"a pool in memory has no namespaces, and {namespace!r} is asked for; open one "
                "pool for each, or use a file"
            )
        self.namespace = namespace
        self._lock = threading.RLock()
        self._records: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self._order: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
        self._next = count()
        self._by_problem: dict[str, dict[str, list[str]]] = {
            kind: defaultdict(list) for kind in _KINDS
        }
        self._problems: dict[str, Problem] = {}
        self._told: dict[str, int] = {}  # in which order
        self._log: list[Change] = []
        self._cache: dict[str, bytes] = {}
        self._now: float | None = None

    def write(
        self, batch: Batch, *, limits: Limits, worth: Callable[[str], float] | None = None
    ) -> list[Receipt]:
        """See `ExperienceStore.write`."""
        with self._lock:
            worth = self._weighed(batch, limits, worth)
            if batch.replace:
                self._clear()
            self._now = batch.now
            return [
                *self._write_experiences(batch.experiences, limits, worth),
                *self._write_attempts(batch.attempts, limits),
                *[self._write_plain("exposure", e) for e in batch.exposures],
                *self._write_failures(batch.failures, limits),
                *[self._write_deletion(i) for i in batch.deletions],
            ]

    def _weighed(
        self, batch: Batch, limits: Limits, worth: Callable[[str], float] | None
    ) -> Callable[[str], float] | None:
        """`worth`, asked beforehand: should it raise, nothing was written yet."""
        if worth is None or limits.capacity is None:
            return None
        lessons: defaultdict[str, list[str]] = defaultdict(list)
        for new in batch.experiences:
            lessons[new.problem.id].append(new.lesson_id)
        if not batch.replace:
            held = self._records["experience"]
            for problem_id, ids in lessons.items():
                ids += [held[i].lesson_id for i in self._by_problem["experience"][problem_id]]
        crowded = chain.from_iterable(ids for ids in lessons.values() if len(ids) > limits.capacity)
        return {lesson_id: worth(lesson_id) for lesson_id in crowded}.__getitem__

    def _clear(self) -> None:
        for kind in _KINDS:
            for record_id, record in list(self._records[kind].items()):
                self._drop(kind, record_id, _problem_id(record), "delete")
        self._problems.clear()
        self._told.clear()

    def _write_experiences(
        self,
        experiences: Sequence[Experience],
        limits: Limits,
        worth: Callable[[str], float] | None,
    ) -> list[Receipt]:
        receipts = [self._write_experience(e, limits) for e in experiences]
        evicted: set[str] = set()
        for problem_id in dict.fromkeys(e.problem.id for e in experiences):
            evicted |= self._evict("experience", problem_id, limits.capacity, worth)
        return settled(receipts, evicted)

    def _write_attempts(self, attempts: Sequence[Attempt], limits: Limits) -> list[Receipt]:
        receipts = [self._write_plain("attempt", a) for a in attempts]
        evicted: set[str] = set()
        for problem_id in dict.fromkeys(a.problem.id for a in attempts):
            evicted |= self._evict("attempt", problem_id, limits.attempts)
        return settled(receipts, evicted)

    def _write_failures(self, failures: Sequence[FailedAnswer], limits: Limits) -> list[Receipt]:
        receipts = [self._write_plain("failure", f) for f in failures]
        held = self._records["failure"]
        excess = 0 if limits.failures is None or not failures else len(held) - limits.failures
        evicted = list(held)[: max(0, excess)]
        for record_id in evicted:
            self._drop("failure", record_id, _problem_id(held[record_id]), "evict")
        return settled(receipts, set(evicted))

    def _write_experience(self, experience: Experience, limits: Limits) -> Receipt:
        held, of_step = self._records["experience"], 0
        if limits.per_step is not None:
            ids, step = (
                self._by_problem["experience"][experience.problem.id],
                experience.metadata.step,
            )
            of_step = sum(held[i].metadata.step == step for i in ids)
        receipt = verdict(
            experience,
            text=self._text(experience.problem),
            held=experience.id in held,
            of_step=of_step,
            per_step=limits.per_step,
        )
        if receipt.status == "added":
            self._insert("experience", experience)
        return receipt

    def _write_plain(self, kind: _Kind, record: _Record) -> Receipt:
        if isinstance(record, Attempt):
            reason = refusal(record.problem, self._text(record.problem))
            if reason:
                return Receipt(status="rejected", id=record.id, reason=reason)
        if record.id in self._records[kind]:
            return Receipt(status="duplicate", id=record.id)
        self._insert(kind, record)
        return Receipt(status="added", id=record.id)

    def _write_deletion(self, record_id: str) -> Receipt:
        deletable: tuple[_Kind, ...] = ("experience", "failure")
        for kind in deletable:
            record = self._records[kind].get(record_id)
            if record is not None:
                self._drop(kind, record_id, _problem_id(record), "delete")
                return Receipt(status="added", id=record_id, reason="deleted")
        return Receipt(status="rejected", id=record_id, reason=NOTHING_TO_DELETE)

    def _text(self, problem: Problem) -> str | None:
        """How a problem is stored."""
        known = self._problems.get(problem.id)
        return None if known is None else known.text

    def _insert(self, kind: _Kind, record: _Record) -> None:
        problem_id = _problem_id(record)
        if isinstance(record, Experience | Attempt):
            # The problem as it was first told stays, whoever tells it again.
            self._told.setdefault(problem_id, len(self._told))
            record = record._with(problem=self._problems.setdefault(problem_id, record.problem))
        if isinstance(record, Experience) and record.metadata.created_at is None:
            record = record._with(metadata=record.metadata._with(created_at=self._now))
        self._records[kind][record.id] = record
        self._order[kind][record.id] = next(self._next)
        self._by_problem[kind][problem_id].append(record.id)
        self._note("add", kind, record.id, problem_id)

    def _evict(
        self,
        kind: _Kind,
        problem_id: str,
        limit: int | None,
        worth: Callable[[str], float] | None = None,
    ) -> set[str]:
        ids = list(self._by_problem[kind][problem_id])
        excess = 0 if limit is None else max(0, len(ids) - limit)
        if excess and worth is not None:
            ids.sort(key=lambda i: worth(self._records[kind][i].lesson_id))  # stable: oldest first
        for record_id in ids[:excess]:
            self._drop(kind, record_id, problem_id, "evict")
        return set(ids[:excess])

    def _drop(
        self, kind: _Kind, record_id: str, problem_id: str, op: Literal["evict", "delete"]
    ) -> None:
        del self._records[kind][record_id], self._order[kind][record_id]
        self._by_problem[kind][problem_id].remove(record_id)
        self._note(op, kind, record_id, problem_id)

    def _note(
        self, op: Literal["add", "evict", "delete"], kind: _Kind, record_id: str, problem_id: str
    ) -> None:
        change = Change(
            seq=len(self._log) + 1, op=op, kind=kind, id=record_id, problem_id=problem_id
        )
        self._log.append(change)

    def read(
        self,
        kind: Any,
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Any]:
        """See `ExperienceStore.read`."""
        with self._lock:
            if kind == "problem":
                return self._read_problems(problems if ids is None else ids)
            if kind not in _KINDS:
                raise unknown_kind(kind)
            records = self._records[kind]
            keep = self._selected(kind, ids, problems, newest)
            if keep is None:
                return list(records.values())
            order = self._order[kind].__getitem__
            return [records[i] for i in sorted(keep & records.keys(), key=order)]

    def _selected(
        self,
        kind: str,
        ids: Sequence[str] | None,
        problems: Sequence[str] | None,
        newest: int | None,
    ) -> set[str] | None:
        if problems is None and newest is None:
            return None if ids is None else set(ids)
        by_problem = self._by_problem[kind]
        wanted = by_problem.keys() if problems is None else set(problems) & by_problem.keys()
        found = {i for p in wanted for i in (by_problem[p][-newest:] if newest else by_problem[p])}
        return found if ids is None else found & set(ids)

    def _read_problems(self, problem_ids: Sequence[str] | None) -> list[Problem]:
        held = self._by_problem["experience"]
        if problem_ids is None:
            return [p for i, p in self._problems.items() if held.get(i)]
        wanted = {i for i in problem_ids if held.get(i)}
        return [self._problems[i] for i in sorted(wanted, key=self._told.__getitem__)]

    def scan(self, kind: Any, *, newest_first: bool = False) -> Iterator[Any]:
        """See `ExperienceStore.scan`."""
        if kind not in _KINDS:
            raise unknown_kind(kind)
        with self._lock:
            records = list(self._records[kind].values())
        yield from reversed(records) if newest_first else records

    @contextmanager
    def view(self) -> Iterator[None]:
        """See `ExperienceStore.view`."""
        with self._lock:
            yield

    def count(self, kind: str) -> int:
        """See `ExperienceStore.count`."""
        with self._lock:
            if kind == "problem":
                return len(self._read_problems(None))
            if kind not in _KINDS:
                raise unknown_kind(kind)
            return len(self._records[kind])

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """See `ExperienceStore.changes`."""
        with self._lock:
            start = max(0, since)
            return Changes(items=tuple(self._log[start : start + limit]), head=len(self._log))

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `ExperienceStore.cached`."""
        with self._lock:
            return [self._cache.get(key) for key in keys]

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """See `ExperienceStore.cache`."""
        with self._lock:
            self._cache.update(items)

    def close(self) -> None:
        """Nothing to release."""
