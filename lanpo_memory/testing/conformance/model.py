"""A pool as plain lists: what stores are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
)

__all__ = ["Model", "by_problem"]


@dataclass
class Model:
    """A pool as plain lists, oldest first, by the words of `Limits` and `ExperienceStore.write`."""

    limits: Limits
    experiences: list[Experience] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
    failures: list[FailedAnswer] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Model:
        """What a snapshot keeps: the records, and the texts of those problems alone."""
        of_problem: list[Any] = [*self.experiences, *self.attempts]
        return Model(
            self.limits,
            list(self.experiences),
            list(self.attempts),
            list(self.exposures),
            list(self.failures),
            {r.problem.id: r.problem.text for r in of_problem},
        )

    def write(self, batch: Batch, worth: Callable[[str], float] = lambda _: 0.0) -> list[str]:
        """Return the statuses of the receipts."""
        if batch.replace:
            for records in (self.experiences, self.attempts, self.exposures, self.failures):
                records.clear()
            self.texts.clear()
        statuses = [
            *self._limited(
                self.experiences, batch.experiences, self._may_add, self.limits.capacity, worth
            ),
            *self._limited(
                self.attempts, batch.attempts, lambda _: True, self.limits.attempts, lambda _: 0.0
            ),
        ]
        statuses += self._plain(self.exposures, batch.exposures, None)
        statuses += self._plain(self.failures, batch.failures, self.limits.failures)
        for gone in batch.deletions:
            before = len(self.experiences) + len(self.failures)
            self.experiences[:] = [e for e in self.experiences if e.id != gone]
            self.failures[:] = [f for f in self.failures if f.id != gone]
            after = len(self.experiences) + len(self.failures)
            statuses.append("rejected" if after == before else "added")
        return statuses

    @staticmethod
    def _plain(mine: list[Any], records: Sequence[Any], most: int | None) -> list[str]:
        told = []
        for record in records:
            new = record.id not in {r.id for r in mine}
            told.append("added" if new else "duplicate")
            mine += [record] * new
        gone = [] if most is None or not records else mine[: max(0, len(mine) - most)]
        mine[:] = mine[len(gone) :]
        ids = {r.id for r in gone}
        return [
            "evicted" if status == "added" and record.id in ids else status
            for status, record in zip(told, records, strict=True)
        ]

    def _may_add(self, new: Experience) -> bool:
        stored = [e for e in self.experiences if e.problem.id == new.problem.id]
        of_step = [e for e in stored if e.metadata.step == new.metadata.step]
        return self.limits.per_step is None or len(of_step) < self.limits.per_step

    def _limited(
        self,
        mine: list[Any],
        records: Sequence[Any],
        may_add: Callable[[Any], bool],
        capacity: int | None,
        worth: Callable[[str], float],
    ) -> list[str]:
        statuses = []
        for record in records:
            problem = record.problem
            # The first text of an id stays, also when the last record of the problem goes.
            if self.texts.setdefault(problem.id, problem.text).split() != problem.text.split():
                statuses.append("rejected")
            elif record.id in {r.id for r in mine}:
                statuses.append("duplicate")
            elif not may_add(record):
                statuses.append("rejected")
            else:
                mine.append(record)
                statuses.append("added")
        evicted = self._evict(mine, capacity, worth)
        return [
            "evicted" if status == "added" and record.id in evicted else status
            for record, status in zip(records, statuses, strict=True)
        ]

    @staticmethod
    def _evict(mine: list[Any], capacity: int | None, worth: Callable[[str], float]) -> set[str]:
        gone: set[str] = set()
        for problem in {r.problem.id for r in mine}:
            rows = [r for r in mine if r.problem.id == problem]
            excess = 0 if capacity is None else max(0, len(rows) - capacity)
            # `sorted` is stable: of equals the oldest goes first.
            rows.sort(key=lambda r: worth(getattr(r, "lesson_id", "")))
            gone |= {r.id for r in rows[:excess]}
        mine[:] = [r for r in mine if r.id not in gone]
        return gone

    def retrieved(self, query: Problem, newest: int) -> dict[str, list[str]]:
        """What a search with room for everything finds: ids by problem, newest first."""
        words = set(query.text.lower().split())
        found: dict[str, list[str]] = {}
        for e in reversed(self.experiences):
            if words & set(e.problem.text.lower().split()):
                found.setdefault(e.problem.id, []).append(e.id)
        return {problem: ids[:newest] for problem, ids in found.items()}

    def counts(self) -> dict[str, int]:
        """What `ExperiencePool.stats` says of it, in part."""
        return {
            "problems": len({e.problem.id for e in self.experiences}),
            "experiences": len(self.experiences),
            "attempts": len(self.attempts),
            "exposures": len(self.exposures),
            "failures": len(self.failures),
        }


def by_problem(records: Iterable[Any]) -> dict[str, list[str]]:
    """The ids of records by the ids of their problems, in their order."""
    rows: dict[str, list[str]] = {}
    for record in records:
        problem = (
            record.problem.id if isinstance(record, Experience | Attempt) else record.problem_id
        )
        rows.setdefault(problem, []).append(record.id)
    return rows
