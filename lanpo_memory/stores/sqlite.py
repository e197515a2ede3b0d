"""The default store: one SQLite file in WAL mode, synchronous FULL, one transaction per batch."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import defaultdict
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
    normalise,
)

__all__ = ["SQLiteStore"]

_APPLICATION_ID = 0x4C414E50  # "LANP": tells a pool from any other SQLite file
_HEADER = b"SQLite format 3\0"

# Numbered: a file's `user_version` says how many of these it has seen. Never edit, only append.
_MIGRATIONS = (
    """
    CREATE TABLE namespace (ns INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE problem (
        rid INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, pid TEXT NOT NULL,
        text TEXT NOT NULL, family TEXT, metadata TEXT NOT NULL, UNIQUE (ns, pid));
    CREATE TABLE experience (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, id TEXT NOT NULL,
        rid INTEGER NOT NULL, step INTEGER NOT NULL, payload TEXT NOT NULL, UNIQUE (ns, id));
    CREATE INDEX experience_of ON experience (rid, seq);
    CREATE TABLE attempt (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, id TEXT NOT NULL,
        rid INTEGER NOT NULL, payload TEXT NOT NULL, UNIQUE (ns, id));
    CREATE INDEX attempt_of ON attempt (rid, seq);
    CREATE TABLE exposure (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, id TEXT NOT NULL,
        pid TEXT NOT NULL, payload TEXT NOT NULL, UNIQUE (ns, id));
    CREATE INDEX exposure_of ON exposure (ns, pid, seq);
    CREATE TABLE failure (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, id TEXT NOT NULL,
        pid TEXT NOT NULL, payload TEXT NOT NULL, UNIQUE (ns, id));
    CREATE INDEX failure_of ON failure (ns, pid, seq);
    CREATE TABLE change (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, op TEXT NOT NULL,
        kind TEXT NOT NULL, id TEXT NOT NULL, pid TEXT NOT NULL);
    CREATE INDEX change_of ON change (ns, seq);
    CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
)

_OF_PROBLEM = ("experience", "attempt")  # kinds that refer to a row of `problem`
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
                head = file.read(len(_HEADER))
        except OSError as error:
            raise PoolWriteError(f"{self.path} cannot be read: {error.strerror}") from error
        if head and head != _HEADER:
            raise PoolFormatError(
                f"{self.path} is not a pool (it is no SQLite file). Give another path; to load "
                "rollouts from a file use `lanpo pool import`."
            )

    def _prepare(self) -> None:
        db = self._db()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if tables and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise PoolFormatError(f"{self.path} is an SQLite file, but not a pool")
        if version > len(_MIGRATIONS):
            raise PoolVersionError(
                f"{self.path} has schema version {version}, this code knows {len(_MIGRATIONS)}. "
                "Update with: pip install -U lanpo"
            )
        if version == len(_MIGRATIONS):
            return
        _switch_to_wal(db, self._timeout_s)
        with self._transaction() as db:
            seen = db.execute("PRAGMA user_version").fetchone()[0]  # another process may be first
            for number, script in enumerate(_MIGRATIONS[seen:], start=seen + 1):
                for statement in filter(str.strip, script.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

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
            return _Write(db, self._ns, limits).batch(batch)

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
            if kind in _OF_PROBLEM:
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
        where, arguments = ["r.ns = ?"], [self._ns]
        _restrict(where, arguments, "r.id", ids)
        _restrict(where, arguments, "p.pid", problems)
        if newest is not None:
            where.append(
                f"r.seq IN (SELECT seq FROM {kind} n WHERE n.rid = r.rid ORDER BY seq DESC LIMIT ?)"
            )
            arguments.append(newest)
        return (
            self._db()
            .execute(
                f"SELECT p.rid, p.pid, p.text, p.family, p.metadata, r.payload FROM problem p "
                f"JOIN {kind} r ON r.rid = p.rid WHERE {' AND '.join(where)} ORDER BY r.seq",
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
        elif kind in (*_OF_PROBLEM, *_PLAIN):
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


class _Write:
    """One batch inside one open transaction."""

    def __init__(self, db: sqlite3.Connection, ns: int, limits: Limits) -> None:
        self._db, self._ns, self._limits = db, ns, limits
        self._log: list[tuple[int, str, str, str, str]] = []

    def batch(self, batch: Batch) -> list[Receipt]:
        if batch.replace:
            self._clear()
        problems: dict[str, Problem] = {}
        for experience in batch.experiences:
            problems.setdefault(experience.problem.id, experience.problem)
        for attempt in batch.attempts:
            problems.setdefault(attempt.problem.id, attempt.problem)
        rids, texts = self._problems(problems)
        receipts = [
            *self._experiences(batch.experiences, rids, texts),
            *self._attempts(batch.attempts, rids, texts),
            *self._plain("exposure", batch.exposures),
            *self._plain("failure", batch.failures),
            *[self._deletion(i) for i in batch.deletions],
        ]
        self._db.executemany(
            "INSERT INTO change (ns, op, kind, id, pid) VALUES (?, ?, ?, ?, ?)", self._log
        )
        return receipts

    def _clear(self) -> None:
        for kind in _OF_PROBLEM:
            self._db.execute(
                f"INSERT INTO change (ns, op, kind, id, pid) "
                f"SELECT r.ns, 'delete', '{kind}', r.id, p.pid FROM {kind} r "
                "JOIN problem p ON p.rid = r.rid WHERE r.ns = ? ORDER BY r.seq",
                (self._ns,),
            )
        for kind in _PLAIN:
            self._db.execute(
                f"INSERT INTO change (ns, op, kind, id, pid) "
                f"SELECT ns, 'delete', '{kind}', id, pid FROM {kind} WHERE ns = ? ORDER BY seq",
                (self._ns,),
            )
        for table in (*_OF_PROBLEM, *_PLAIN, "problem"):
            self._db.execute(f"DELETE FROM {table} WHERE ns = ?", (self._ns,))

    def _problems(self, problems: dict[str, Problem]) -> tuple[dict[str, int], dict[str, str]]:
        """Row ids and stored texts, by problem id: the first text of an id stays."""
        self._db.executemany(
            "INSERT OR IGNORE INTO problem (ns, pid, text, family, metadata) VALUES (?,?,?,?,?)",
            [
                (self._ns, p.id, p.text, p.family, json.dumps(dict(p.metadata)))
                for p in problems.values()
            ],
        )
        rows = self._db.execute(
            "SELECT pid, rid, text FROM problem WHERE ns = ? "
            "AND pid IN (SELECT value FROM json_each(?))",
            (self._ns, json.dumps(list(problems))),
        ).fetchall()
        return {pid: rid for pid, rid, _ in rows}, {pid: text for pid, _, text in rows}

    def _experiences(
        self, experiences: Sequence[Experience], rids: dict[str, int], texts: dict[str, str]
    ) -> list[Receipt]:
        known = self._known("experience", [e.id for e in experiences])
        counts = self._counts_by_step(rids)
        rows: list[tuple[int, str, int, int, str]] = []
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for e in experiences:
            pid, rid, step = e.problem.id, rids[e.problem.id], e.metadata.step
            receipt = self._verdict(e, known, texts, counts[rid, step])
            receipts.append(receipt)
            if receipt.status != "added":
                continue
            known.add(e.id)
            counts[rid, step] += 1
            touched[rid] = pid
            rows.append((self._ns, e.id, rid, step, e.model_dump_json(exclude={"problem"})))
            self._log.append((self._ns, "add", "experience", e.id, pid))
        self._db.executemany(
            "INSERT INTO experience (ns, id, rid, step, payload) VALUES (?, ?, ?, ?, ?)", rows
        )
        evicted = self._evict("experience", touched, self._limits.capacity)
        return [
            Receipt(status="evicted", id=r.id, reason="pushed out by later ones of this batch")
            if r.status == "added" and r.id in evicted
            else r
            for r in receipts
        ]

    def _verdict(
        self, e: Experience, known: set[str], texts: dict[str, str], of_step: int
    ) -> Receipt:
        refusal = _refusal(e.problem, texts)
        if refusal:
            return Receipt(status="rejected", id=e.id, reason=refusal)
        if e.id in known:
            return Receipt(status="duplicate", id=e.id)
        limit = self._limits.per_step
        if limit is not None and of_step >= limit:
            reason = f"the problem has {limit} new experiences of this step already"
            return Receipt(status="rejected", id=e.id, reason=reason)
        return Receipt(status="added", id=e.id)

    def _attempts(
        self, attempts: Sequence[Attempt], rids: dict[str, int], texts: dict[str, str]
    ) -> list[Receipt]:
        known = self._known("attempt", [a.id for a in attempts])
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for a in attempts:
            pid, refusal = a.problem.id, _refusal(a.problem, texts)
            if refusal:
                receipts.append(Receipt(status="rejected", id=a.id, reason=refusal))
            elif a.id in known:
                receipts.append(Receipt(status="duplicate", id=a.id))
            else:
                known.add(a.id)
                touched[rids[pid]] = pid
                payload = a.model_dump_json(exclude={"problem"})
                self._db.execute(
                    "INSERT INTO attempt (ns, id, rid, payload) VALUES (?, ?, ?, ?)",
                    (self._ns, a.id, rids[pid], payload),
                )
                self._log.append((self._ns, "add", "attempt", a.id, pid))
                receipts.append(Receipt(status="added", id=a.id))
        self._evict("attempt", touched, self._limits.attempts)
        return receipts

    def _plain(
        self, kind: str, records: Sequence[Exposure] | Sequence[FailedAnswer]
    ) -> list[Receipt]:
        receipts = []
        for record in records:
            row = (self._ns, record.id, record.problem_id, record.model_dump_json())
            cursor = self._db.execute(
                f"INSERT OR IGNORE INTO {kind} (ns, id, pid, payload) VALUES (?, ?, ?, ?)", row
            )
            if cursor.rowcount:
                self._log.append((self._ns, "add", kind, record.id, record.problem_id))
            receipts.append(
                Receipt(status="added" if cursor.rowcount else "duplicate", id=record.id)
            )
        return receipts

    def _deletion(self, record_id: str) -> Receipt:
        row = self._db.execute(
            "SELECT e.seq, p.pid FROM experience e JOIN problem p ON p.rid = e.rid "
            "WHERE e.ns = ? AND e.id = ?",
            (self._ns, record_id),
        ).fetchone()
        if row is None:
            return Receipt(status="rejected", id=record_id, reason="no experience has this id")
        self._db.execute("DELETE FROM experience WHERE seq = ?", (row[0],))
        self._log.append((self._ns, "delete", "experience", record_id, row[1]))
        return Receipt(status="added", id=record_id, reason="deleted")

    def _known(self, kind: str, ids: Sequence[str]) -> set[str]:
        rows = self._db.execute(
            f"SELECT id FROM {kind} WHERE ns = ? AND id IN (SELECT value FROM json_each(?))",
            (self._ns, json.dumps(list(ids))),
        )
        return {row[0] for row in rows}

    def _counts_by_step(self, rids: dict[str, int]) -> defaultdict[tuple[int, int], int]:
        counts: defaultdict[tuple[int, int], int] = defaultdict(int)
        if self._limits.per_step is not None:
            rows = self._db.execute(
                "SELECT rid, step, count(*) FROM experience "
                "WHERE rid IN (SELECT value FROM json_each(?)) GROUP BY rid, step",
                (json.dumps(list(rids.values())),),
            )
            counts.update({(rid, step): n for rid, step, n in rows})
        return counts

    def _evict(self, kind: str, touched: dict[int, str], limit: int | None) -> set[str]:
        """First in, first out, per problem."""
        if limit is None or not touched:
            return set()
        rows = self._db.execute(
            f"SELECT seq, id, rid FROM (SELECT seq, id, rid, row_number() OVER "
            f"(PARTITION BY rid ORDER BY seq DESC) AS age FROM {kind} "
            f"WHERE rid IN (SELECT value FROM json_each(?))) WHERE age > ? ORDER BY seq",
            (json.dumps(list(touched)), limit),
        ).fetchall()
        self._db.executemany(f"DELETE FROM {kind} WHERE seq = ?", [(row[0],) for row in rows])
        self._log += [(self._ns, "evict", kind, row[1], touched[row[2]]) for row in rows]
        return {row[1] for row in rows}


def _refusal(problem: Problem, texts: dict[str, str]) -> str | None:
    if normalise(texts[problem.id]) == normalise(problem.text):
        return None
    return f"problem id {problem.id!r} is stored with another text"


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


def _switch_to_wal(db: sqlite3.Connection, timeout_s: float) -> None:
    """Turn on write-ahead logging; several processes may try this at once on a new file."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # This pragma does not wait for the lock by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        if mode != "wal":
            raise PoolWriteError(
                f"SQLite cannot use its write-ahead log here (journal mode {mode!r}). It does not "
                "work on network file systems: put the pool on a local disk."
            )
        return
