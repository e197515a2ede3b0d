"""A store in Chroma: a folder that one process opens, or a server with one writer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lanpo_memory.chroma import WAITS_S, ChromaPlace, check_name
from lanpo_memory.errors import (
    PoolClosedError,
    PoolError,
    PoolNotFoundError,
    PoolWriteError,
)
from lanpo_memory.stores.chroma_cache import ChromaCache
from lanpo_memory.stores.chroma_lease import Lease
from lanpo_memory.stores.chroma_log import ChromaLog
from lanpo_memory.stores.chroma_names import check_mark, log_name, mark
from lanpo_memory.stores.chroma_replica import ChromaReplica
from lanpo_memory.stores.chroma_write import ChromaWriter
from lanpo_memory.stores.file_systems import refuse_network
from lanpo_memory.stores.replica import Replica
from lanpo_memory.types import Batch, Changes, Limits, Promise, Receipt

__all__ = ["ChromaStore"]

_PROMISES = frozenset(
    {Promise.ATOMIC, Promise.DURABLE, Promise.CHANGE_LOG, Promise.CACHE, Promise.NAMESPACES}
)


class ChromaStore:
    """A pool in a Chroma collection. An acknowledged write survives kill -9.

    Chroma has no transactions and no order, so the collection holds a log: the records of a batch
    become visible by one commit that names them, and of two commits with the same number Chroma
    keeps the first. Every process holds a replica of the pool in memory, which it fills from the
    log when it opens and follows before every read.

    An experience of 80 words takes some 3.6 kB of the replica, its lines of the change log
    included; the log is never shortened. Chroma stores 256 of them in about a quarter of a second
    (SQLite in a hundredth); reading what is in memory costs one small request on a server and
    none in a folder. 30,000 open in two to three seconds.

    Open it with `embedded` or with `server`. It is safe to share between threads; while one writes
    the others read.

    Raises:
        PoolNotFoundError: there is no such pool, and `create` is false.
        PoolFormatError: a collection of this name is there and is not this pool; it was not
            touched.
        PoolVersionError: newer code wrote it; it was not touched.
        InvalidInputError: Chroma takes no collection of this name.
        MissingExtraError: chromadb is not installed.

    >>> import tempfile
    >>> from lanpo_memory.types import Experience, Problem
    >>> store = ChromaStore.embedded(tempfile.mkdtemp())
    >>> batch = Batch(experiences=(Experience(problem=Problem(text="2 + 3?"), thoughts="count"),))
    >>> [r.status for r in store.write(batch, limits=Limits())], store.count("experience")
    (['added'], 1)
    >>> store.close()
    """

    def __init__(
        self,
        place: ChromaPlace,
        *,
        collection: str = "lanpo",
        namespace: str = "default",
        create: bool = True,
        lease_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_name(collection)
        self.place, self.namespace = place, namespace
        self.promises = _PROMISES if place.exclusive else _PROMISES | {Promise.READERS}
        records = _opened(place, collection, namespace, create)
        self._log = ChromaLog(place, records)
        self._replica = ChromaReplica(self._log)
        self._cache = ChromaCache(place, collection)
        lease = None if place.exclusive else Lease(place, records, lease_s=lease_s, clock=clock)
        self._lock = threading.RLock()  # of the replica
        self._writing = threading.Lock()  # taken before the other, never after it
        self._viewing = threading.local()
        self._unsettled = False  # a write is under way
        self._alone = False  # nobody else writes, and nothing of ours is unsettled
        self._closed = False
        self._writer = ChromaWriter(self._log, self._replica, self._lock, self._follow, lease)
        self._follow()

    @classmethod
    def embedded(
        cls,
        folder: str | Path,
        *,
        collection: str = "lanpo",
        namespace: str = "default",
        create: bool = True,
    ) -> Self:
        """Open a folder for this process alone. A server takes no lock: stop it first.

        Raises:
            PoolBusyError: it is open already, here or elsewhere; the message says what to do.
            PoolFileSystemError: it lies on a network file system.
        """
        refuse_network(Path(folder).absolute() / "chroma.sqlite3")
        place = ChromaPlace.folder(folder, create=create)
        return cls._on(place, collection=collection, namespace=namespace, create=create)

    @classmethod
    def server(
        cls,
        host: str,
        *,
        port: int = 8000,
        secure: bool = False,
        collection: str = "lanpo",
        namespace: str = "default",
        create: bool = True,
        lease_s: float = 30.0,
        clock: Callable[[], float] = time.time,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        waits_s: Sequence[float] = WAITS_S,
    ) -> Self:
        """Open a pool on a server (`chroma run --path FOLDER`): many readers, one writer.

        Args:
            host: name or address of the server.
            port: where it listens.
            secure: speak https.
            collection: the pool's collection, or what those of its namespaces begin with.
            namespace: which of the pools side by side.
            create: make the pool if it is not there.
            lease_s: how long nobody else may write after this process wrote last.
            clock: seconds since the epoch, for the lease.
            headers: sent with every request, such as a token.
            timeout_s: how long to wait for an answer.
            waits_s: pauses between tries while the server does not answer.

        Raises:
            PoolConnectionError: nobody answers.
        """
        place = ChromaPlace.server(
            host, port=port, secure=secure, headers=headers, timeout_s=timeout_s, waits_s=waits_s
        )
        return cls._on(
            place,
            collection=collection,
            namespace=namespace,
            create=create,
            lease_s=lease_s,
            clock=clock,
        )

    @classmethod
    def _on(cls, place: ChromaPlace, **options: Any) -> Self:
        try:
            return cls(place, **options)
        except BaseException:
            place.close()
            raise

    def close(self) -> None:
        """Let others write, and free the folder or the connection. Twice does nothing.

        Raises:
            PoolWriteError: this thread is within a view, for which a writer may be waiting.
        """
        if self._depth():
            raise PoolWriteError("this thread is within a view of the pool; close it after it")
        with self._writing, self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(PoolError):  # the lease ends by itself
                self._writer.release()
            self.place.close()

    # ------------------------------------------------------------------ writing

    def write(
        self, batch: Batch, *, limits: Limits, worth: Callable[[str], float] | None = None
    ) -> list[Receipt]:
        """See `ExperienceStore.write`.

        Raises:
            PoolBusyError: another process writes to this pool. Nothing was written.
            PoolConnectionError: the server went away and did not come back. The batch is there
                whole or not at all, which the next read shows; writing it again does no harm.
            PoolWriteError: Chroma refused.
        """
        if self._depth():
            raise PoolWriteError("this thread is within a view of the pool; write after it")
        with self._writing:
            self._check_open()
            if not len(batch) and not batch.replace:
                return []
            with self._lock:  # between two looks at them, not within one
                self._unsettled, self._alone = True, False  # however this ends, follow the log then
            try:
                return self._writer.write(batch, limits, worth)
            finally:
                self._unsettled = False

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
        with self._current() as records:
            return records.read(kind, ids=ids, problems=problems, newest=newest)

    def scan(self, kind: Any, *, newest_first: bool = False) -> Iterator[Any]:
        """See `ExperienceStore.scan`."""
        with self._current() as records:
            found = list(records.scan(kind, newest_first=newest_first))
        yield from found

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """See `ExperienceStore.view`. Other threads wait."""
        with self._current():
            self._viewing.depth = self._depth() + 1
            try:
                yield
            finally:
                self._viewing.depth -= 1

    def count(self, kind: str) -> int:
        """See `ExperienceStore.count`."""
        with self._current() as records:
            return records.count(kind)

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """See `ExperienceStore.changes`."""
        with self._current() as records:
            return records.changes(since, limit=limit)

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `ExperienceStore.cached`."""
        self._check_open()
        return self._cache.get(keys)

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """See `ExperienceStore.cache`."""
        self._check_open()
        self._cache.put(items)

    @contextlib.contextmanager
    def _current(self) -> Iterator[Replica]:
        """The replica, up to date and nobody else's for the moment."""
        with self._lock:
            self._check_open()
            if not self._depth():
                self._follow()
            yield self._replica.store

    def _follow(self, known: Mapping[str, Any] | None = None, *, surely: bool = False) -> None:
        with self._lock:
            if self._alone and not surely:
                return
            self._alone = False
            self._replica.follow(known)
            self._alone = self.place.exclusive and not self._unsettled

    def _depth(self) -> int:
        """How many views this thread is within."""
        return getattr(self._viewing, "depth", 0)

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError("the pool is closed; open it again with open_pool")
        self.place.check()


def _opened(place: ChromaPlace, collection: str, namespace: str, create: bool) -> Any:
    """The collection that holds a pool, made if it may be."""
    name, expected = log_name(collection, namespace), mark(collection, "log", namespace)
    found = place.made(name, expected) if create else place.get(name)
    if found is None:
        known = ", ".join(map(repr, sorted(_namespaces(place, collection)))) or "none"
        others = sorted(_pools(place) - {collection})
        beside = f". Other pools there: {', '.join(map(repr, others))}" if others else ""
        raise PoolNotFoundError(
            f"{place.name} has no pool {collection!r} with namespace {namespace!r}; it has: "
            f"{known}{beside}"
        )
    check_mark(name, found.metadata, expected)
    return found


def _namespaces(place: ChromaPlace, collection: str) -> Iterator[str]:
    expected = mark(collection, "log")
    for each in place.collections():
        found = each.metadata or {}
        if all(found.get(key) == expected[key] for key in ("format", "collection", "part")):
            yield str(found.get("namespace"))


def _pools(place: ChromaPlace) -> set[str]:
    """The names of all pools there, which are those of their collections."""
    form = mark("any", "log")["format"]
    found = (each.metadata or {} for each in place.collections())
    return {str(each.get("collection")) for each in found if each.get("format") == form}
