"""Connections to a PostgreSQL server: pooled, bound to threads, tried again, errors translated."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from lanpo_memory.errors import (
    MissingExtraError,
    PoolBusyError,
    PoolClosedError,
    PoolURLError,
    PoolWriteError,
)
from lanpo_memory.stores.addresses import shown
from lanpo_memory.stores.postgres_errors import is_lost, translated

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

__all__ = ["Server"]

T = TypeVar("T")

_MOST = 8  # connections of one store: one writes, the others read
_DEFAULTS: dict[str, Any] = {
    "application_name": "lanpo",
    "connect_timeout": 10,
    # A server that vanished without a word is noticed within a minute, not within two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Server:
    """One database, for any number of threads.

    Connections are opened when they are needed. A process that forked opens its own.

    Args:
        url: what libpq understands; settings it does not name get careful defaults.
        timeout_s: how long to wait for a lock, for a free connection, and for a server that went
            away to come back.

    Raises:
        MissingExtraError: psycopg is not installed.
        PoolURLError: the address cannot be read.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.shown, self.timeout_s = shown(url), timeout_s
        self._conninfo = _conninfo(url)
        self._guard = threading.Lock()
        self._closed = False
        self._started()

    def _started(self) -> None:
        """What belongs to this process alone."""
        self._pid = os.getpid()
        self._pool: ConnectionPool[Any] | None = None
        self._left: list[Any] = []
        self._writing = threading.Lock()
        self._local = threading.local()

    # ------------------------------------------------------------------ working

    def open(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do the first work there is: a server that cannot be reached is an error at once.

        One that is just starting is waited for.
        """

        def connected() -> T:
            with self.connect() as db:
                return work(db)

        return self._retried(connected, opening=True)

    def read(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do work that changes nothing.

        Outside a view it is done again if the connection breaks, until `timeout_s` has passed.

        Raises:
            PoolConnectionError: the connection broke within a view, or for too long.
        """
        bound = self._bound()
        if bound is None:
            return self._retried(lambda: self._with_one(work))
        with self._translating():
            return work(bound)

    def once(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do work that nobody waits for: if the connection breaks, it is not done again."""
        with self._translating():
            return self._with_one(work)

    def write(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do work in a transaction that it begins and commits, again if the connection breaks.

        The work must be able to tell whether an earlier try of it was committed.

        Raises:
            PoolBusyError: another thread has been writing for `timeout_s`.
            PoolWriteError: this thread is reading a view, or writing.
        """
        if self._bound() is not None:
            raise PoolWriteError("this thread is within a view of the pool; write after it")
        writing = self._writing
        if not writing.acquire(timeout=self.timeout_s):
            raise PoolBusyError(
                f"another thread has been writing to {self.shown} for {self.timeout_s:g} s; "
                "nothing was written, try again"
            )
        try:
            return self._retried(lambda: self._with_one(work, bind=True))
        finally:
            writing.release()

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """Within it, all reads of this thread see the database as it was at one moment."""
        if self._bound() is not None:  # a view within a view
            yield
            return
        db = self._retried(self._viewing)
        self._local.db = db
        try:
            yield
        finally:
            self._local.db = None
            self._give(db)

    def _viewing(self) -> Connection[Any]:
        db = self._take()
        try:
            with db.pipeline():
                db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                db.execute("SELECT 1")  # from here on nothing moves
        except BaseException:
            self._give(db)
            raise
        return db

    def connect(self) -> Connection[Any]:
        """A connection that belongs to the caller; psycopg's errors pass through."""
        import psycopg

        if self._closed:
            raise _closed()
        return psycopg.connect(self._conninfo, autocommit=True)

    # ------------------------------------------------------------------ trying again

    def _retried(self, step: Callable[[], T], *, opening: bool = False) -> T:
        import psycopg

        deadline, pause = time.monotonic() + self.timeout_s, _PAUSE_S
        while True:
            try:
                return step()
            except psycopg.Error as error:
                hopeless = not is_lost(error) or (opening and not _is_starting(error))
                if hopeless or time.monotonic() + pause > deadline:
                    raise translated(error, self.shown, self.timeout_s) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise translated(error, self.shown, self.timeout_s) from error

    def _with_one(self, work: Callable[[Connection[Any]], T], *, bind: bool = False) -> T:
        db = self._take()
        if bind:  # what the work asks this store for, it sees as it is in its transaction
            self._local.db = db
        try:
            return work(db)
        finally:
            if bind:
                self._local.db = None
            self._give(db)

    # ------------------------------------------------------------------ connections

    def _bound(self) -> Connection[Any] | None:
        """The connection that this thread is bound to, within a view or a transaction."""
        if self._closed:
            raise _closed()
        db: Connection[Any] | None = getattr(self._local, "db", None)
        return db if self._pid == os.getpid() else None

    def _take(self) -> Connection[Any]:
        from psycopg_pool import PoolClosed, PoolTimeout

        deadline, wait_s = time.monotonic() + self.timeout_s, 0.25
        while True:
            try:
                db: Connection[Any] = self._connections().getconn(timeout=wait_s)
                return db
            except PoolClosed:
                raise _closed() from None
            except PoolTimeout:
                self.connect().close()  # raises the reason, which the pool keeps to itself
            if time.monotonic() > deadline:
                raise PoolBusyError(
                    f"all {_MOST} connections to {self.shown} have been in use for "
                    f"{self.timeout_s:g} s: leave a view before asking for more, or use fewer "
                    "threads"
                )
            wait_s = min(2 * wait_s, 2.0)

    def _give(self, db: Connection[Any]) -> None:
        """Put a connection back, with no transaction open."""
        import psycopg
        from psycopg.pq import TransactionStatus

        status = db.info.transaction_status
        if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with contextlib.suppress(psycopg.Error):  # a broken one is thrown away below
                db.execute("ROLLBACK")
        elif status == TransactionStatus.ACTIVE:  # interrupted: what comes next is not ours
            db.close()
        pool = self._pool
        if self._pid != os.getpid():  # it is the parent's
            return
        if pool is None:  # closed meanwhile
            db.close()
        else:
            pool.putconn(db)

    def _connections(self) -> ConnectionPool[Any]:
        with self._guard:
            if self._closed:
                raise _closed()
            if self._pid != os.getpid():
                # The parent's connections stay open: closing them would end its sessions.
                kept = [*self._left, self._pool]
                self._started()
                self._left = kept
            if self._pool is None:
                self._pool = _new_pool(self._conninfo)
            return self._pool

    def close(self) -> None:
        """Close every connection, once it is done. Closing twice does nothing."""
        with self._guard:
            self._closed = True
            pool, self._pool = self._pool, None
            mine = self._pid == os.getpid()
        if pool is not None and mine:
            pool.close()


def _conninfo(url: str) -> str:
    try:
        import psycopg
        import psycopg_pool  # noqa: F401  (better missed here than in the middle of work)
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError:
        raise MissingExtraError("psycopg", "postgres") from None
    try:
        given = conninfo_to_dict(url)
        for port in str(given.get("port") or 0).split(","):
            int(port)
        return make_conninfo(url, **{k: v for k, v in _DEFAULTS.items() if k not in given})
    except (psycopg.Error, ValueError):  # its words may hold the password
        raise PoolURLError(
            f"cannot read the address {shown(url)!r}: write it as "
            "postgresql://user:password@host:port/database, with the characters / @ : % ? of a "
            "password percent-encoded"
        ) from None


def _new_pool(conninfo: str) -> ConnectionPool[Any]:
    from psycopg_pool import ConnectionPool

    # What goes wrong reaches the caller as an error. Whoever wants the log sets one up.
    logger = logging.getLogger("psycopg")  # its pool's logs, too
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return ConnectionPool(
        conninfo,
        min_size=0,
        max_size=_MOST,
        kwargs={"autocommit": True},
        reconnect_timeout=0,  # whoever asks tries again
        num_workers=1,
        open=True,
        name="lanpo",
    )


def _is_starting(error: Any) -> bool:
    return error.sqlstate == "57P03" or "starting up" in str(error)


def _closed() -> PoolClosedError:
    return PoolClosedError("the pool is closed; open it again with open_pool")
