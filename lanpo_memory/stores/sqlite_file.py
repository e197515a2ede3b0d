"""A pool's SQLite file: opening it, one connection a thread, transactions, errors, closing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from lanpo_memory.errors import (
    LanpoError,
    PoolClosedError,
    PoolDamagedError,
    PoolFormatError,
    PoolNotFoundError,
    PoolReadOnlyError,
    PoolVersionError,
)
from lanpo_memory.stores.file_systems import refuse_network
from lanpo_memory.stores.sqlite_errors import translated
from lanpo_memory.stores.sqlite_schema import (
    APPLICATION_ID,
    VERSION,
    expected,
    migrate,
    schema,
    switch_to_wal,
)

__all__ = ["SQLiteFile"]

_SETTINGS = (
    "synchronous = FULL",  # an acknowledged write is on the disk
    "cache_size = -65536",  # 64 MiB
    # A batch of thousands touches as many pages of the ids' index: folded into the file every
    # 64 MiB, a page that is written again and again is folded once.
    "wal_autocheckpoint = 16384",
    "journal_size_limit = 134217728",
    "trusted_schema = OFF",  # a file from a stranger runs no function of ours
)


class SQLiteFile:
    """A file that holds a pool of the current schema version, made or migrated where needed.

    Threads may share it: each has its own connection, and none is closed while it is in use.

    Args:
        path: the file; its folder must exist.
        create: make the file if it is not there.
        timeout_s: how long to wait for another process's write lock.

    Raises:
        PoolError: see `SQLiteStore`.
    """

    def __init__(self, path: Path, *, create: bool, timeout_s: float) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._local = threading.local()
        self._connections: list[tuple[sqlite3.Connection, threading.RLock]] = []
        self._guard = threading.Lock()
        self._closed = False
        self._check_file(create)
        try:
            with self.use():
                self._prepare()
        except LanpoError:
            self.close()
            raise

    def _check_file(self, create: bool) -> None:
        if not self._path.parent.is_dir():
            raise PoolNotFoundError(
                f"there is no folder {self._path.parent}; make it first, or give another path"
            )
        if self._path.is_dir():
            raise PoolFormatError(f"{self._path} is a folder, not a pool file")
        refuse_network(self._path)
        if not self._path.exists():
            if not create:
                raise PoolNotFoundError(f"there is no pool at {self._path}")
            return
        if not os.access(self._path, os.R_OK):
            raise PoolReadOnlyError(f"{self._path} cannot be read: permission denied")
        # The file itself is opened by SQLite alone: closing any other handle would drop the locks
        # that this process holds on it (https://sqlite.org/howtocorrupt.html, section 2.2).

    def _prepare(self) -> None:
        with self.view():
            if self._version(self.db()) == VERSION:
                return
        db = self.db()
        switch_to_wal(db, self._timeout_s)
        with self.transaction() as db:
            seen = self._version(db)  # another process may have been first
            try:
                migrate(db, seen)
            except (ValueError, KeyError, TypeError) as error:
                raise PoolDamagedError(
                    f"{self._path} has schema version {seen} and cannot be brought to {VERSION}: "
                    f"{error}; it was not touched"
                ) from error
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _version(self, db: sqlite3.Connection) -> int:
        """The file's schema version, 0 for a new file; within one transaction.

        The file is data: what declares anything that a pool does not declare is refused.
        """
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        declared = schema(db)
        if declared and db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise PoolFormatError(f"{self._path} is an SQLite file, but not a pool")
        if version > VERSION:
            raise PoolVersionError(
                f"{self._path} has schema version {version}, this code knows {VERSION}. "
                "Update with: pip install -U lanpo"
            )
        if declared != expected(version):
            odd = sorted(name for _, name, _ in declared ^ expected(version))
            raise PoolFormatError(
                f"{self._path} does not have the tables of a pool of version {version} "
                f"({', '.join(odd[:5])}); it was not touched"
            )
        return version

    def db(self) -> sqlite3.Connection:
        """This thread's own connection, to be used within `use`."""
        if self._closed:
            raise PoolClosedError("the pool is closed; open it again with open_pool")
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(
                self._path, isolation_level=None, timeout=self._timeout_s, check_same_thread=False
            )
            with self._guard:
                self._connections.append((db, self._in_use()))
            for setting in _SETTINGS:
                db.execute(f"PRAGMA {setting}")
            self._local.db = db
        return db

    def _in_use(self) -> threading.RLock:
        """What this thread holds while it uses its connection, so that none is closed in use."""
        lock: threading.RLock | None = getattr(self._local, "lock", None)
        if lock is None:
            lock = self._local.lock = threading.RLock()
        return lock

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all of it or nothing, with the file locked for other writers."""
        db = self.db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Use this thread's connection, with SQLite's errors translated into our own."""
        with self._in_use():
            try:
                yield
            except sqlite3.Error as error:
                raise translated(error, self._path, self._timeout_s) from error

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """Within it, all reads of this thread see the file as it was at one moment."""
        with self.use():
            db = self.db()
            if db.in_transaction:  # a view within a view
                yield
                return
            db.execute("BEGIN")
            try:
                db.execute("SELECT 1 FROM sqlite_schema").fetchone()  # from here on nothing moves
                yield
            finally:
                with contextlib.suppress(sqlite3.Error):  # of a read, which has nothing to lose
                    db.execute("COMMIT")

    def close(self) -> None:
        """Close every thread's connection, once it is done. Closing twice does nothing."""
        self._closed = True
        with self._guard:
            connections, self._connections = self._connections, []
        for db, in_use in connections:
            with in_use:
                db.close()
