"""The addresses of pools. Nothing else reads such a string."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from lanpo_memory.errors import PoolURLError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.stores.sqlite import SQLiteStore

__all__ = ["KNOWN", "local_path", "open_store", "shown"]

KNOWN = (
    "a path",
    "sqlite:///path",
    "memory:",
    "chroma:///folder",
    "chroma+http://host:port/collection",
    "postgresql://user@host/database",
)
"""What an address may look like."""

_CHROMA_SERVERS = ("chroma+http", "chroma+https")
# Where the name of a user may begin; servers also where a slash was forgotten.
_SCHEME = re.compile(r"(?:postgres(?:ql)?|chroma\+https?):/{0,2}|[^:]*?://")
_SECRET = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
_POSTGRES = ("postgresql", "postgres")
_CONNINFO = re.compile(r"(?:^|\s)(?:host|hostaddr|dbname|user|password)\s*=")


def open_store(
    url: str | Path, *, namespace: str = "default", create: bool = True
) -> ExperienceStore:
    """Open the store at an address.

    Raises:
        PoolURLError: the address is empty, its scheme is unknown, or it lacks a part.
        MissingExtraError: the store needs a package that is not installed.
        PromiseError: the store holds one pool only, and another namespace is asked for.
        PoolNotFoundError: there is nothing at this address, and `create` is false.
        PoolError: what else the store says.

    >>> open_store("memory:").count("experience")
    0
    """
    address = str(url)
    scheme, colon, rest = address.partition(":")
    if not address.strip():
        raise PoolURLError("the pool's address is empty; give a path, or memory:")
    if _CONNINFO.search(address) and not Path(address).exists():
        raise PoolURLError(  # it may hold a password: not a word of it
            "settings of libpq are not read as an address; write postgresql://user@host/database"
        )
    if address in ("memory:", "memory://"):
        return MemoryStore(namespace=namespace)
    if scheme in _POSTGRES and rest.startswith("//"):
        from lanpo_memory.stores.postgres import PostgresStore

        return PostgresStore(address, namespace=namespace, create=create)
    if scheme == "chroma" and rest.startswith("///"):
        return _chroma_folder(rest.removeprefix("///"), address, namespace, create)
    if scheme in _CHROMA_SERVERS and rest.startswith("//"):
        return _chroma_server(address, namespace, create)
    if scheme == "sqlite" and rest.startswith("///"):
        return SQLiteStore(rest.removeprefix("///"), namespace=namespace, create=create)
    # One letter before the colon is a Windows drive, not a scheme.
    if colon and "/" not in scheme and len(scheme) > 1 and not Path(address).exists():
        raise _unreadable(address)
    return SQLiteStore(address, namespace=namespace, create=create)


def shown(url: str | Path) -> str:
    """An address as it may be printed: without its password or token.

    >>> shown("postgresql://me:secret@host/db?password=secret")
    'postgresql://me:***@host/db?password=***'
    """
    address = str(url)
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address
    after = _SECRET.sub(r"\1***", address[scheme.end() :])
    user, at, host = after.rpartition("@")
    name, colon, _ = user.partition(":")
    return scheme[0] + (f"{name}:***{at}{host}" if colon else after)


def local_path(url: str | Path) -> Path | None:
    """The file or folder of this machine that an address names, `None` if it names none.

    >>> str(local_path("sqlite:///pool.db")), local_path("postgresql://me@host/db")
    ('pool.db', None)
    """
    address = str(url)
    if address in ("memory:", "memory://"):
        return None
    for scheme in ("sqlite:///", "chroma:///"):
        if address.startswith(scheme):
            return Path(address.removeprefix(scheme))
    return None if _SCHEME.match(address) and not Path(address).exists() else Path(address)


def _chroma_folder(folder: str, address: str, namespace: str, create: bool) -> ExperienceStore:
    if not folder.strip():
        raise _unreadable(address)
    from lanpo_memory.stores.chroma import ChromaStore

    return ChromaStore.embedded(folder, namespace=namespace, create=create)


def _chroma_server(address: str, namespace: str, create: bool) -> ExperienceStore:
    try:
        parts = urlsplit(address.removeprefix("chroma+"))
        port = parts.port
    except ValueError:  # a port that is no number
        raise _unreadable(address) from None
    collection = parts.path.strip("/")
    if not parts.hostname or not collection or "/" in collection:
        raise _unreadable(address)
    if parts.username is not None or parts.query:
        raise PoolURLError(
            f"an address of a Chroma server holds host, port and collection, no more: "
            f"{shown(address)!r}. For a token use "
            "ChromaStore.server(..., headers={...}) and ExperiencePool(store)"
        )
    from lanpo_memory.stores.chroma import ChromaStore

    secure = parts.scheme == "https"
    return ChromaStore.server(
        parts.hostname,
        port=port or (443 if secure else 8000),
        secure=secure,
        collection=collection,
        namespace=namespace,
        create=create,
    )


def _unreadable(address: str) -> PoolURLError:
    return PoolURLError(
        f"cannot open a pool at {shown(address)!r}. Known addresses: {', '.join(KNOWN)}"
    )
