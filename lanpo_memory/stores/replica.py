"""A store's copy in memory of what a log elsewhere says, changed by replaying that log alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.types import Change, Problem

__all__ = ["Line", "Replica", "Staged"]

Line = tuple[str, str, str, str]
"""What a log says of one change: op, kind, id and problem id. Its number is its place."""


class Staged(MemoryStore):
    """A draft of a replica: written to first, thrown away afterwards.

    Whatever goes wrong while a batch is weighed or sent, the replica has not moved.
    """

    @property
    def lines(self) -> list[Line]:
        """What was written to the draft, in order."""
        return [(c.op, c.kind, c.id, c.problem_id) for c in self._log]

    def told_since(self, replica: Replica, *, replace: bool) -> list[Problem]:
        """The problems that the replica does not know in these words."""
        before = {} if replace else replica._problems
        return [p for i, p in self._problems.items() if before.get(i) is not p]

    def record(self, kind: str, record_id: str) -> Any:
        """A record of the draft."""
        return self._records[kind][record_id]


class Replica(MemoryStore):
    """Holds what a log says, with the numbers the log gives; nothing but `replay` changes it.

    >>> replica, problem = Replica(), Problem(text="2 + 3?")
    >>> replica.replay([("add", "attempt", "a", problem.id)], [problem], {}, replace=False)
    >>> replica.changes(0).head, replica.count("attempt")
    (1, 0)
    """

    def staged(self) -> Staged:
        """A draft of the state as of now, which shares the records."""
        draft = Staged()
        with self._lock:
            draft._records = {kind: dict(held) for kind, held in self._records.items()}
            draft._order = {kind: dict(places) for kind, places in self._order.items()}
            draft._by_problem = {
                kind: defaultdict(list, {i: list(ids) for i, ids in held.items()})
                for kind, held in self._by_problem.items()
            }
            draft._problems, draft._told = dict(self._problems), dict(self._told)
        return draft

    def problem(self, problem_id: str) -> Problem | None:
        """A problem that was told once, whether or not anything of it is held."""
        with self._lock:
            return self._problems.get(problem_id)

    def replay(
        self,
        lines: Iterable[Line],
        problems: Iterable[Problem],
        records: Mapping[tuple[str, str], Any],
        *,
        replace: bool,
    ) -> None:
        """Take in the next entry of the log.

        A record that is not among `records`, by kind and id, was dropped again further on in the
        log: the change log tells of it, the replica does not hold it.
        """
        with self._lock:
            if replace:
                self._problems.clear()
                self._told.clear()
            for problem in problems:
                self._problems[problem.id] = problem
                self._told[problem.id] = len(self._told)
            for line in lines:
                self._take(line, records)

    def _take(self, line: Line, records: Mapping[tuple[str, str], Any]) -> None:
        op, kind, record_id, problem_id = line
        held, ids = self._records[kind], self._by_problem[kind]
        if op != "add":
            if held.pop(record_id, None) is not None:
                del self._order[kind][record_id]
                ids[problem_id].remove(record_id)
        elif (kind, record_id) in records:
            held[record_id] = records[kind, record_id]
            self._order[kind][record_id] = next(self._next)
            ids[problem_id].append(record_id)
        self._log.append(Change(len(self._log) + 1, op, kind, record_id, problem_id))  # type: ignore[arg-type]
