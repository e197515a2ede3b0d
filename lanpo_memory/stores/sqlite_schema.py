"""The SQLite file's schema, as numbered migrations."""

from __future__ import annotations

import json
import sqlite3
import time
from functools import cache

from lanpo_memory.errors import PoolFileSystemError
from lanpo_memory.types import Experience, Problem

__all__ = ["APPLICATION_ID", "VERSION", "expected", "migrate", "schema", "switch_to_wal"]

APPLICATION_ID = 0x4C414E50  # "LANP": tells a pool from any other SQLite file

_VERSION_1 = """
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
    """

# The lesson's id beside each experience, for eviction by utility; the step inside the index that
# eviction walks; how many experiences there are, so that nobody has to count; a change log that is
# appended to and nothing else; a cache for long values, of which two fit on a page.
_VERSION_2 = """
    DROP INDEX experience_of;
    ALTER TABLE experience RENAME TO experience_1;
    CREATE TABLE experience (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, ns INTEGER NOT NULL, id TEXT NOT NULL,
        rid INTEGER NOT NULL, step INTEGER NOT NULL, lesson TEXT NOT NULL, payload TEXT NOT NULL,
        UNIQUE (ns, id));
    CREATE INDEX experience_of ON experience (rid, seq, step);
    INSERT INTO sqlite_sequence SELECT 'experience', seq FROM sqlite_sequence
        WHERE name = 'experience_1';
    ALTER TABLE namespace ADD COLUMN experiences INTEGER NOT NULL DEFAULT 0;
    DROP INDEX change_of;
    CREATE TABLE cached (key TEXT PRIMARY KEY, value BLOB NOT NULL);
    INSERT INTO cached SELECT key, value FROM cache;
    DROP TABLE cache;
    """


def _create(db: sqlite3.Connection) -> None:
    _run(db, _VERSION_1)


def _to_2(db: sqlite3.Connection) -> None:
    _run(db, _VERSION_2)
    # Ids that begin with the problem: everything that names one is renamed with it.
    new: dict[tuple[int, str], str] = {}
    lessons: dict[int, str] = {}
    for seq, ns, old, pid, payload in db.execute(
        "SELECT e.seq, e.ns, e.id, p.pid, e.payload FROM experience_1 e "
        "JOIN problem p ON p.rid = e.rid"
    ):
        experience = Experience(problem=Problem(text="any", id=pid), **json.loads(payload))
        new[ns, old], lessons[seq] = experience.id, experience.lesson_id
    rows = db.execute("SELECT seq, ns, id, rid, step, payload FROM experience_1 ORDER BY seq")
    db.executemany(
        "INSERT INTO experience (seq, ns, id, rid, step, lesson, payload) VALUES (?,?,?,?,?,?,?)",
        (
            (seq, ns, new[ns, old], rid, step, lessons[seq], _renamed(payload, "parents", ns, new))
            for seq, ns, old, rid, step, payload in rows
        ),
    )
    _run(db, "DROP TABLE experience_1")
    db.execute(
        "UPDATE namespace SET experiences = "
        "(SELECT count(*) FROM experience e WHERE e.ns = namespace.ns)"
    )
    exposures = db.execute("SELECT seq, ns, payload FROM exposure").fetchall()
    db.executemany(
        "UPDATE exposure SET payload = ? WHERE seq = ?",
        ((_renamed(payload, "experience_ids", ns, new), seq) for seq, ns, payload in exposures),
    )


def _to_3(_: sqlite3.Connection) -> None:
    """The same tables; records of failed answers may say more than before."""


def _renamed(payload: str, name: str, ns: int, new: dict[tuple[int, str], str]) -> str:
    if f'"{name}":[]' in payload:
        return payload
    record = json.loads(payload)
    owner = record["metadata"] if name == "parents" else record
    owner[name] = [new.get((ns, each), each) for each in owner[name]]
    return json.dumps(record)


def _run(db: sqlite3.Connection, script: str) -> None:
    for statement in filter(str.strip, script.split(";")):
        db.execute(statement)


# Numbered: a file's `user_version` says how many of these it has seen. Never edit, only append.
_MIGRATIONS = (_create, _to_2, _to_3)
VERSION = len(_MIGRATIONS)


def migrate(db: sqlite3.Connection, since: int, until: int = VERSION) -> None:
    """Bring the schema from one version to another, inside the caller's transaction.

    Raises:
        InvalidInputError: a record of the old file cannot be read.
    """
    for number in range(since, until):
        _MIGRATIONS[number](db)
        db.execute(f"PRAGMA user_version = {number + 1}")


def schema(db: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    """Everything a database declares: type, name and definition."""
    rows = db.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return frozenset(rows.fetchall())


@cache
def expected(version: int) -> frozenset[tuple[str, str, str]]:
    """What a pool of this schema version declares, and nothing else: no trigger and no view."""
    db = sqlite3.connect(":memory:")
    try:
        migrate(db, 0, version)
        return schema(db)
    finally:
        db.close()


def switch_to_wal(db: sqlite3.Connection, timeout_s: float) -> None:
    """Turn on write-ahead logging; several processes may try this at once on a new file.

    Raises:
        PoolFileSystemError: it does not work on this file system.
    """
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
            raise PoolFileSystemError(
                f"SQLite cannot use its write-ahead log here (journal mode {mode!r}): put the pool "
                "on a local disk"
            )
        return
