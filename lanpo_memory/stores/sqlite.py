"""The default store: one SQLite file in WAL mode, synchronous FULL, one transaction per batch."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lanpo_memory.errors import (
    InvalidInputError,
    PoolBusyError,
    PoolClosedError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.stores.sqlite_schema import (
    APPLICATION_ID,
    HEADER,
    MIGRATIONS,
    switch_to_wal,
)
from lanpo_memory.stores.sqlite_write import OF_PROBLEM, PLAIN, Write
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

__all__ = ["SQLiteStore"]

_PLAIN: dict[str, type[Exposure] | type[FailedAnswer]] = {
    "exposure": Exposure,
    "failure": FailedAnswer,
}


class SQLiteStore:
    """A pool in one file. An acknowledged write survives kill -9; several processes may write.

    Args:
        path: the file; its folder must exist.
        namespace: pools of several runs live side by side in one file and never meet.
        create: make the file if it is not there.
        timeout_s: how long to wait for another process's write lock.

    Raises:
        PoolNotFoundError: there is no such file (or folder, when creating).
        PoolFormatError: the file is not a pool; it was not touched.
        PoolVersionError: the file was written by a newer version; it was not touched.
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
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._closed = False
        self._check_file(create)
        with self._errors():
            self._prepare()
            with self._transaction() as db:
                db.execute("INSERT OR IGNORE INTO namespace (name) VALUES (?)", (namespace,))
                self._ns: int = db.execute(
                    "SELECT ns FROM namespace WHERE name = ?", (namespace,)
                ).fetchone()[0]

    # ------------------------------------------------------------------ connections

    def _check_file(self, create: bool) -> None:
        if not self.path.parent.is_dir():
            raise PoolNotFoundError(
                f"there is no folder {self.path.parent}; make it first, or give another path"
            )
        if self.path.is_dir():
            raise PoolFormatError(f"{self.path} is a folder, not a pool file")
        if not self.path.exists():
            if not create:
                raise PoolNotFoundError(f"there is no pool at {self.path}")
            return
        try:
            with self.path.open("rb") as file:
                head = file.read(len(HEADER))
        except OSError as error:
            raise PoolWriteError(f"{self.path} cannot be read: {error.strerror}") from error
        if head and head != HEADER:
            raise PoolFormatError(
                f"{self.path} is not a pool (it is no SQLite file). Give another path; to load "
                "rollouts from a file use `lanpo pool import`."
            )

    def _prepare(self) -> None:
        db = self._db()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise PoolFormatError(f"{self.path} is an SQLite file, but not a pool")
        if version > len(MIGRATIONS):
            raise PoolVersionError(
                f"{self.path} has schema version {version}, this code knows {len(MIGRATIONS)}. "
                "Update with: pip install -U lanpo"
            )
        if version == len(MIGRATIONS):
            return
        switch_to_wal(db, self._timeout_s)
        with self._transaction() as db:
            seen = db.execute("PRAGMA user_version").fetchone()[0]  # another process may be first
            for number, script in enumerate(MIGRATIONS[seen:], start=seen + 1):
                for statement in filter(str.strip, script.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _db(self) -> sqlite3.Connection:
        """This thread's own connection."""
        if self._closed:
            raise PoolClosedError("the pool is closed; open it again with open_pool")
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(
                self.path, isolation_level=None, timeout=self._timeout_s, check_same_thread=False
            )
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cache_size = -65536")
            self._local.db = db
            with self._guard:
                self._connections.append(db)
        return db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate SQLite's errors into this library's own."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise PoolBusyError(
                    f"another process has been writing to {self.path} for {self._timeout_s:g} s; "
                    "nothing was written, try again"
                ) from error
            raise PoolWriteError(f"{self.path}: {text}; nothing was written") from error
        except sqlite3.DatabaseError as error:
            raise PoolFormatError(f"{self.path} is damaged or not a pool: {error}") from error

    def close(self) -> None:
        """Close every thread's connection. Closing twice does nothing."""
        with self._guard:
            self._closed = True
            for db in self._connections:
                db.close()
            self._connections.clear()

    # ------------------------------------------------------------------ writing

    def write(self, batch: Batch, *, limits: Limits) -> list[Receipt]:
        """See `ExperienceStore.write`."""
        if not len(batch) and not batch.replace:
            return []
        with self._errors(), self._transaction() as db:
            return Write(db, self._ns, limits).batch(batch)

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
        with self._errors():
            if kind == "problem":
                return self._read_problems(problems if ids is None else ids)
            if kind in OF_PROBLEM:
                rows = self._rows_of_problem(kind, ids, problems, newest)
                known: dict[int, Problem] = {}
                return [_revive(kind, row, known) for row in rows]
            if kind in _PLAIN:
                rows = self._rows_plain(kind, ids, problems, newest)
                return [_PLAIN[kind](**json.loads(row[0])) for row in rows]
        raise InvalidInputError(
            f"unknown kind {kind!r}; known: experience, attempt, exposure, failure, problem"
        )

    def _read_problems(self, problem_ids: Sequence[str] | None) -> list[Problem]:
        sql = (
            "SELECT p.pid, p.text, p.family, p.metadata FROM problem p WHERE p.ns = ? "
            "AND EXISTS (SELECT 1 FROM experience e WHERE e.rid = p.rid)"
        )
        arguments: list[Any] = [self._ns]
        if problem_ids is not None:
            sql += " AND p.pid IN (SELECT value FROM json_each(?))"
            arguments.append(json.dumps(list(problem_ids)))
        rows = self._db().execute(sql + " ORDER BY p.rid", arguments)
        return [_problem(*row) for row in rows]

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
                "json_each(?) j CROSS JOIN problem p ON p.pid = j.value "
                f"CROSS JOIN {kind} r ON r.rid = p.rid"
            )
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
        return (
            self._db()
            .execute(
                "SELECT p.rid, p.pid, p.text, p.family, p.metadata, r.payload "
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
            self._db()
            .execute(
                f"SELECT r.payload FROM {kind} r WHERE {' AND '.join(where)} ORDER BY r.seq",
                arguments,
            )
            .fetchall()
        )

    def count(self, kind: str) -> int:
        """See `ExperienceStore.count`."""
        if kind == "problem":
            table = "(SELECT DISTINCT rid, ns FROM experience)"
        elif kind in (*OF_PROBLEM, *PLAIN):
            table = kind
        else:
            raise InvalidInputError(f"unknown kind {kind!r}")
        with self._errors():
            row = self._db().execute(f"SELECT count(*) FROM {table} WHERE ns = ?", (self._ns,))
            return int(row.fetchone()[0])

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """See `ExperienceStore.changes`."""
        with self._errors():
            db = self._db()
            rows = db.execute(
                "SELECT seq, op, kind, id, pid FROM change WHERE ns = ? AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (self._ns, since, limit),
            ).fetchall()
            head = db.execute(
                "SELECT coalesce(max(seq), 0) FROM change WHERE ns = ?", (self._ns,)
            ).fetchone()[0]
        names = ("seq", "op", "kind", "id", "problem_id")
        items = tuple(Change(**dict(zip(names, row, strict=True))) for row in rows)
        return Changes(items=items, head=head)

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `ExperienceStore.cached`."""
        with self._errors():
            rows = self._db().execute(
                "SELECT key, value FROM cache WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(keys)),),
            )
            found: dict[str, bytes] = dict(rows.fetchall())
        return [found.get(key) for key in keys]

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """See `ExperienceStore.cache`."""
        with self._errors(), self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO cache VALUES (?, ?)", items)


def _restrict(
    where: list[str], arguments: list[Any], column: str, values: Sequence[str] | None
) -> None:
    if values is not None:
        where.append(f"{column} IN (SELECT value FROM json_each(?))")
        arguments.append(json.dumps(list(values)))


def _problem(pid: str, text: str, family: str | None, metadata: str) -> Problem:
    return Problem(id=pid, text=text, family=family, metadata=json.loads(metadata))


def _revive(kind: str, row: tuple[Any, ...], known: dict[int, Problem]) -> Experience | Attempt:
    rid, pid, text, family, metadata, payload = row
    if rid not in known:
        known[rid] = _problem(pid, text, family, metadata)
    record = Experience if kind == "experience" else Attempt
    return record(problem=known[rid], **json.loads(payload))
