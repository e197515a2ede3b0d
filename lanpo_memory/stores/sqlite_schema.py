"""The SQLite file's schema, as numbered migrations."""

from __future__ import annotations

import json
import sqlite3
import time
from functools import cache

from lanpo_memory.errors import PoolFileSystemError
from lanpo_memory.types import Experience, Problem

__all__ = ["APPLICATION_ID", "HEADER", "VERSION", "expected", "migrate", "schema", "switch_to_wal"]

APPLICATION_ID = 0x4C414E50  # "LANP": tells a pool from any other SQLite file
HEADER = b"SQLite format 3\0"

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
    # The lesson's id beside each experience, for eviction by utility; the step inside the index
    # that eviction walks; a change log that is appended to and nothing else; a cache for long
    # values, of which two fit on a page.
    """
    ALTER TABLE experience ADD COLUMN lesson TEXT NOT NULL DEFAULT '';
    UPDATE experience SET lesson = lanpo_lesson(payload);
    DROP INDEX experience_of;
    CREATE INDEX experience_of ON experience (rid, seq, step);
    DROP INDEX change_of;
    CREATE TABLE cached (key TEXT PRIMARY KEY, value BLOB NOT NULL);
    INSERT INTO cached SELECT key, value FROM cache;
    DROP TABLE cache;
    """,
)
VERSION = len(_MIGRATIONS)


def migrate(db: sqlite3.Connection, since: int, until: int = VERSION) -> None:
    """Bring the schema from one version to another, inside the caller's transaction."""
    db.create_function("lanpo_lesson", 1, _lesson, deterministic=True)
    for number in range(since, until):
        for statement in filter(str.strip, _MIGRATIONS[number].split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number + 1}")


def _lesson(payload: str) -> str:
    return Experience(problem=_ANY, **json.loads(payload)).lesson_id


_ANY = Problem(text="any", id="any")


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
