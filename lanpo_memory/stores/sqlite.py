"""The default store: one SQLite file in WAL mode, synchronous FULL, one transaction per batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from lanpo_memory.errors import (
    LanpoError,
    PoolDamagedError,
    PoolNotFoundError,
)
from lanpo_memory.stores.kinds import OF_PROBLEM, PLAIN, TYPES
from lanpo_memory.stores.receipts import unknown_kind
from lanpo_memory.stores.sqlite_file import SQLiteFile
from lanpo_memory.stores.sqlite_write import Write
from lanpo_memory.types import (
    Batch,
    Change,
    Changes,
    Limits,
    Problem,
    Promise,
    Receipt,
)

__all__ = ["SQLiteStore"]

_PAGE = 1_000  # records a `scan` holds at once


class SQLiteStore:
    """A pool in one file. An acknowledged write survives kill -9; several processes may write.

    Args:
        path: the file; its folder must exist.
        namespace: pools of several runs live side by side in one file and never meet.
        create: make the file if it is not there.
        timeout_s: how long to wait for another process's write lock.

    Raises:
        PoolNotFoundError: there is no such file (or folder, when creating), or, without `create`,
            no such namespace in it.
        PoolFormatError: the file is not a pool; it was not touched.
        PoolVersionError: the file was written by a newer version; it was not touched.
        PoolReadOnlyError: the file or its folder may not be written.
        PoolFileSystemError: it lies on a network file system.
    """

    promises = frozenset(Promise)

    def __init__(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        create: bool = True,
        timeout_s: float = 60.0,
    ) -> None:
        self.path = Path(path).absolute()
        self.namespace = namespace
        self._file = SQLiteFile(self.path, create=create, timeout_s=timeout_s)
        try:
            with self._file.use():
                self._ns = self._number(create)
        except LanpoError:
            self.close()
            raise

    def _number(self, create: bool) -> int:
        """This namespace's number, made if it is new."""
        find = "SELECT ns FROM namespace WHERE name = ?"
        row = self._file.db().execute(find, (self.namespace,)).fetchone()
        if row is None and not create:
            known = self._file.db().execute("SELECT name FROM namespace ORDER BY name").fetchall()
            names = ", ".join(repr(name) for (name,) in known) or "none"
            raise PoolNotFoundError(
                f"{self.path} has no namespace {self.namespace!r}; it has: {names}"
            )
        if row is None:
            with self._file.transaction() as db:
                db.execute("INSERT OR IGNORE INTO namespace (name) VALUES (?)", (self.namespace,))
                row = db.execute(find, (self.namespace,)).fetchone()
        return int(row[0])

    def view(self) -> AbstractContextManager[None]:
        """See `ExperienceStore.view`."""
        return self._file.view()

    def close(self) -> None:
        """Close every thread's connection, once it is done. Closing twice does nothing."""
        self._file.close()

    # ------------------------------------------------------------------ writing

    def write(
        self, batch: Batch, *, limits: Limits, worth: Callable[[str], float] | None = None
    ) -> list[Receipt]:
        """See `ExperienceStore.write`."""
        if not len(batch) and not batch.replace:
            return []
        with self._file.use(), self._file.transaction() as db:
            return Write(db, self._ns, limits, worth).batch(batch)

    # ------------------------------------------------------------------ reading

    def read(
        self,
        kind: Any,
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Any]:
        """See `ExperienceStore.read`."""
        with self._file.use():
            if kind == "problem":
                return self._read_problems(problems if ids is None else ids)
            if kind in OF_PROBLEM:
                return self._revived(kind, self._rows_of_problem(kind, ids, problems, newest))
            if kind in PLAIN:
                return self._revived(kind, self._rows_plain(kind, ids, problems, newest))
        raise unknown_kind(kind)

    def scan(self, kind: Any, *, newest_first: bool = False) -> Iterator[Any]:
        """See `ExperienceStore.scan`."""
        if kind not in TYPES:
            raise unknown_kind(kind)
        of_problem = kind in OF_PROBLEM
        columns = "r.seq, r.payload" + (
            # No lesson: what is scanned is checked, and its ids are made from what it says.
            ", NULL, p.rid, p.pid, p.text, p.family, p.metadata" if of_problem else ""
        )
        join = "CROSS JOIN problem p ON p.rid = r.rid" if of_problem else ""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        # The plus keeps SQLite from looking for the namespace in an index and sorting all of it.
        sql = (
            f"SELECT {columns} FROM {kind} r {join} WHERE +r.ns = ? AND r.seq {beyond} ? "
            f"ORDER BY r.seq {order} LIMIT {_PAGE}"
        )
        last = 2**62 if newest_first else 0
        while True:
            with self._file.use():
                rows = self._file.db().execute(sql, (self._ns, last)).fetchall()
            yield from self._revived(kind, rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def _read_problems(self, problem_ids: Sequence[str] | None) -> list[Problem]:
        held = "EXISTS (SELECT 1 FROM experience e WHERE e.rid = p.rid)"
        columns = "SELECT p.pid, p.text, p.family, p.metadata FROM"
        if problem_ids is None:
            sql = f"{columns} problem p WHERE p.ns = ? AND {held} ORDER BY p.rid"
            rows = self._file.db().execute(sql, (self._ns,))
        else:
            sql = (
                f"{columns} json_each(?) j CROSS JOIN problem p ON p.pid = j.value AND p.ns = ? "
                f"WHERE {held} ORDER BY p.rid"
            )
            wanted = json.dumps(list(dict.fromkeys(problem_ids)))
            rows = self._file.db().execute(sql, (wanted, self._ns))
        return [self._problem(*row) for row in rows]

    def _rows_of_problem(
        self,
        kind: str,
        ids: Sequence[str] | None,
        problems: Sequence[str] | None,
        newest: int | None,
    ) -> list[Any]:
        # CROSS JOIN fixes the order: from the few problems asked for to their rows, never the
        # other way round through every row of the pool.
        source = f"problem p CROSS JOIN {kind} r ON r.rid = p.rid"
        where: list[str] = ["p.ns = ?"]
        arguments: list[Any] = [self._ns]
        if problems is not None:
            source = (
                "json_each(?) j CROSS JOIN problem p ON p.pid = j.value AND p.ns = ? "
                f"CROSS JOIN {kind} r ON r.rid = p.rid"
            )
            where = ["1"]
            arguments.insert(0, json.dumps(list(dict.fromkeys(problems))))
        elif ids is not None:
            source = f"{kind} r CROSS JOIN problem p ON p.rid = r.rid AND r.ns = p.ns"
            where[0] = "r.ns = ?"
        _restrict(where, arguments, "r.id", ids)
        if newest is not None:
            where.append(
                f"r.seq >= coalesce((SELECT seq FROM {kind} n WHERE n.rid = p.rid "
                "ORDER BY seq DESC LIMIT 1 OFFSET ?), 0)"
            )
            arguments.append(newest - 1)
        lesson = "r.lesson" if kind == "experience" else "NULL"
        return (
            self._file.db()
            .execute(
                f"SELECT r.seq, r.payload, {lesson}, p.rid, p.pid, p.text, p.family, p.metadata "
                f"FROM {source} WHERE {' AND '.join(where)} ORDER BY r.seq",
                arguments,
            )
            .fetchall()
        )

    def _rows_plain(
        self,
        kind: str,
        ids: Sequence[str] | None,
        problems: Sequence[str] | None,
        newest: int | None,
    ) -> list[Any]:
        where, arguments = ["r.ns = ?"], [self._ns]
        _restrict(where, arguments, "r.id", ids)
        _restrict(where, arguments, "r.pid", problems)
        if newest is not None:
            where.append(
                f"r.seq IN (SELECT seq FROM {kind} n WHERE n.ns = r.ns AND n.pid = r.pid"
                " ORDER BY seq DESC LIMIT ?)"
            )
            arguments.append(newest)
        return (
            self._file.db()
            .execute(
                f"SELECT r.seq, r.payload FROM {kind} r WHERE {' AND '.join(where)} ORDER BY r.seq",
                arguments,
            )
            .fetchall()
        )

    def count(self, kind: str) -> int:
        """See `ExperienceStore.count`."""
        if kind == "problem":
            sql = (
                "SELECT count(*) FROM problem p WHERE ns = ? "
                "AND EXISTS (SELECT 1 FROM experience e WHERE e.rid = p.rid)"
            )
        elif kind == "experience":
            sql = "SELECT experiences FROM namespace WHERE ns = ?"
        elif kind in TYPES:
            sql = f"SELECT count(*) FROM {kind} WHERE ns = ?"
        else:
            raise unknown_kind(kind)
        with self._file.use():
            return int(self._file.db().execute(sql, (self._ns,)).fetchone()[0])

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """See `ExperienceStore.changes`."""
        with self._file.use():
            db = self._file.db()
            # First the newest line, then those up to it: what comes in between is for next time.
            head = db.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()[0]
            if head <= since or not limit:
                return Changes((), head)
            rows = db.execute(
                "SELECT seq, op, kind, id, pid FROM change WHERE ns = ? AND seq > ? AND seq <= ? "
                "ORDER BY seq LIMIT ?",
                (self._ns, since, head, limit),
            )
            return Changes(tuple(map(Change._make, rows)), head)

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `ExperienceStore.cached`."""
        with self._file.use():
            rows = self._file.db().execute(
                "SELECT c.key, c.value FROM json_each(?) j CROSS JOIN cached c ON c.key = j.value",
                (json.dumps(list(keys)),),
            )
            found: dict[str, bytes] = dict(rows.fetchall())
        return [found.get(key) for key in keys]

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """See `ExperienceStore.cache`."""
        with self._file.use(), self._file.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO cached VALUES (?, ?)", items)

    # ------------------------------------------------------------------ records

    def _revived(self, kind: str, rows: Sequence[Any]) -> list[Any]:
        """Records from rows (seq, payload) or (..., lesson, rid, pid, text, family, metadata)."""
        model, records = TYPES[kind], []
        known: dict[int, Problem] = {}
        for seq, payload, *of_problem in rows:
            lesson = None
            try:
                data = from_json(payload)
                if of_problem:
                    lesson, rid, *fields = of_problem
                    if rid not in known:
                        known[rid] = self._problem(*fields)
                    data["problem"] = known[rid]
                records.append(model.__pydantic_validator__.validate_python(data))
                if lesson is not None:
                    records[-1].__dict__["lesson_id"] = lesson  # spares hashing all it says
            except (ValueError, TypeError) as error:
                raise PoolDamagedError(
                    f"{self.path}: {kind} {seq} cannot be read: {error}"
                ) from error
        return records

    def _problem(self, pid: str, text: str, family: str | None, metadata: str) -> Problem:
        fields = {"id": pid, "text": text, "family": family, "metadata": from_json(metadata)}
        try:
            return Problem.__pydantic_validator__.validate_python(fields)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise PoolDamagedError(
                f"{self.path}: problem {pid!r} cannot be read: {error}"
            ) from error


def _restrict(
    where: list[str], arguments: list[Any], column: str, values: Sequence[str] | None
) -> None:
    if values is not None:
        where.append(f"{column} IN (SELECT value FROM json_each(?))")
        arguments.append(json.dumps(list(values)))
