"""Where Chroma is, a folder or a server: connecting, trying again, its collections."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakSet

from lanpo_memory.chroma.errors import is_lost, may_be_back, translated
from lanpo_memory.chroma.lock import DATABASE, LOCK_NAME, FolderLock
from lanpo_memory.errors import (
    InvalidInputError,
    MissingExtraError,
    PoolClosedError,
    PoolConnectionError,
    PoolFormatError,
    PoolNotFoundError,
    PoolReadOnlyError,
)

__all__ = ["WAITS_S", "ChromaPlace", "check_name"]

T = TypeVar("T")

WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses between tries while a server does not answer, in seconds: a restart takes about two."""
_PAGE = 100  # collections listed at once
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}[a-zA-Z0-9]")


def check_name(collection: str) -> None:
    """Refuse what Chroma refuses, and what leaves no room for a namespace.

    Raises:
        InvalidInputError: it is no name for a collection.
    """
    if not _NAME.fullmatch(collection):
        raise InvalidInputError(
            f"{collection!r} cannot name a collection of Chroma's: 3 to 256 characters of "
            "a-z, A-Z, 0-9, '.', '_' and '-', a letter or digit first and last"
        )


class ChromaPlace:
    """A Chroma client that sends no telemetry, tries again where that is safe, and fails typed.

    Open one with `folder` or `server`. A store and a retriever may share it; who opened it closes
    it.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        lock: FolderLock | None = None,
        waits_s: Sequence[float] = (),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.exclusive = lock is not None
        self._client, self._lock = client, lock
        self._waits_s, self._pause = tuple(waits_s), pause
        self._closed, self._pid = False, os.getpid()
        self.users: dict[str, WeakSet[Any]] = {}
        """By collection: the retrievers of this process that search it."""
        self.max_batch = int(self.call(client.get_max_batch_size))

    @classmethod
    def folder(cls, path: str | Path, *, create: bool = True) -> Self:
        """Open a folder, which nobody else may have open.

        Raises:
            PoolNotFoundError: it, or the folder it would be made in, is not there.
            PoolFormatError: it holds other things.
            PoolReadOnlyError: it may not be made or written.
            PoolBusyError: it is open already; the message names the process.
            MissingExtraError: chromadb is not installed.
        """
        chromadb, settings = _chromadb()
        folder = Path(path).absolute()
        _check_folder(folder, create)
        lock = FolderLock(folder)
        try:
            return cls(_persistent(chromadb, folder, settings), str(folder), lock=lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def server(
        cls,
        host: str,
        *,
        port: int = 8000,
        secure: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        waits_s: Sequence[float] = WAITS_S,
    ) -> Self:
        """Connect to a server (`chroma run --path FOLDER`).

        Raises:
            PoolConnectionError: nobody answers, or something else does.
            MissingExtraError: chromadb is not installed.
        """
        chromadb, settings = _chromadb()
        host = f"[{host}]" if ":" in host else host  # an address of IPv6
        name = f"{'https' if secure else 'http'}://{host}:{port}"
        try:
            client = chromadb.HttpClient(
                host=host,
                port=port,
                ssl=secure,
                headers=None if headers is None else dict(headers),
                settings=settings,
            )
        except (ValueError, chromadb.errors.ChromaError) as error:
            if is_lost(error):
                raise translated(error, name) from error
            raise PoolConnectionError(
                f"what is at {name} does not answer as a Chroma server does "
                f"({str(error)[:100]!r}); correct the address, or give the headers it wants"
            ) from error
        _limit(client, timeout_s)
        return cls(client, name, waits_s=waits_s)

    def call(self, method: Callable[..., T], *args: Any, **arguments: Any) -> T:
        """Ask Chroma for something that may be asked twice.

        Raises:
            PoolConnectionError: the server stayed away for the time it takes to restart one.
            PoolError: what else Chroma says, translated.
        """
        self.check()
        for wait_s in (*self._waits_s, None):
            try:
                return method(*args, **arguments)
            # chromadb 1.5 raises bare Exception for what a server refuses; none passes untyped.
            except Exception as error:
                if wait_s is None or not may_be_back(error):
                    raise translated(error, self.name) from error
            self._pause(wait_s)
        raise AssertionError("unreachable")

    def check(self) -> None:
        """Make sure that it is open, in this process.

        Raises:
            PoolClosedError: it was closed, or this process was forked from the one that opened it:
                two would write as one, over the same connection.
        """
        if self._closed:
            raise PoolClosedError("the pool is closed; open it again with open_pool")
        if self._pid != os.getpid():
            raise PoolClosedError(
                f"{self.name} was opened by process {self._pid}, and this one was forked from it; "
                "open the pool again with open_pool"
            )

    def get(self, name: str) -> Any | None:
        """A collection, `None` where there is none of this name."""
        try:
            # Without this the default embedding function would download a model.
            return self.call(self._client.get_collection, name, embedding_function=None)
        except PoolNotFoundError:
            return None

    def made(
        self,
        name: str,
        metadata: Mapping[str, Any],
        configuration: Mapping[str, Any] | None = None,
    ) -> Any:
        """A collection, made if need be; one that is there keeps its metadata."""
        return self.get(name) or self.call(
            self._client.get_or_create_collection,
            name,
            metadata=dict(metadata),
            configuration=None if configuration is None else dict(configuration),
            embedding_function=None,
        )

    def collections(self) -> Iterator[Any]:
        """Every collection there is."""
        start = 0
        while page := self.call(self._client.list_collections, limit=_PAGE, offset=start):
            yield from page
            start += len(page)

    def close(self) -> None:
        """Disconnect, and free the folder. Closing twice does nothing."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        try:
            sessions = _sessions(self._client)
            self._client.close()
            for session in sessions:
                session.close()  # chromadb 1.5 leaves its sockets open
        finally:
            if self._lock is not None:
                self._lock.release()


def _chromadb() -> tuple[Any, Any]:
    """The package, and settings without telemetry and without a stray ``.env`` file."""
    try:
        import chromadb
        import chromadb.errors
        from chromadb.config import Settings
    except ImportError:
        raise MissingExtraError("chromadb", "chroma") from None
    return chromadb, Settings(anonymized_telemetry=False, _env_file=None)


def _persistent(chromadb: Any, folder: Path, settings: Any) -> Any:
    try:
        return chromadb.PersistentClient(path=str(folder), settings=settings)
    except (ValueError, OSError, chromadb.errors.ChromaError) as error:
        raise PoolFormatError(f"Chroma cannot open {folder}: {error}") from error


def _check_folder(folder: Path, create: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise PoolFormatError(f"{folder} is a file, not a folder of Chroma's")
    if not folder.parent.is_dir():
        raise PoolNotFoundError(
            f"there is no folder {folder.parent}; make it first, or give another path"
        )
    if (folder / DATABASE).exists():
        return
    if not create:
        raise PoolNotFoundError(f"there is no pool of Chroma's in {folder}")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise PoolReadOnlyError(f"cannot make {folder}: {error.strerror}") from error
    if any(entry.name != LOCK_NAME for entry in folder.iterdir()):
        raise PoolFormatError(f"{folder} holds other things; give Chroma a folder of its own")


def _sessions(client: Any) -> list[Any]:
    """The HTTP clients within a Chroma client: it makes a second one for its administration.

    They are private; without them all goes on, but for a time-out and for closing in time.
    """
    owners = (client, getattr(client, "_admin_client", None))
    sessions = [getattr(getattr(owner, "_server", None), "_session", None) for owner in owners]
    return [session for session in sessions if session is not None]


def _limit(client: Any, timeout_s: float) -> None:
    """Give up on a server that hangs. chromadb waits forever and has no setting for it."""
    for session in _sessions(client):
        session.timeout = timeout_s
