"""The SQLite file's schema, as numbered migrations."""

from __future__ import annotations

import sqlite3
import time

from lanpo_memory.errors import PoolWriteError

__all__ = ["APPLICATION_ID", "HEADER", "MIGRATIONS", "switch_to_wal"]

APPLICATION_ID = 0x4C414E50  # "LANP": tells a pool from any other SQLite file
HEADER = b"SQLite format 3\0"

# Numbered: a file's `user_version` says how many of these it has seen. Never edit, only append.
MIGRATIONS = (
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


def switch_to_wal(db: sqlite3.Connection, timeout_s: float) -> None:
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
