"""How pools are called in Chroma, and what marks a collection as part of one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from lanpo_memory.errors import PoolFormatError, PoolVersionError
from lanpo_memory.types import fingerprint

__all__ = ["VERSION", "cache_name", "check_mark", "log_name", "mark"]

FORMAT = "lanpo-pool"
VERSION = 1
_SLUG_CHARS = 60


def log_name(collection: str, namespace: str) -> str:
    """The collection of a namespace: any text becomes a readable slug and a hash.

    >>> log_name("lanpo", "default"), log_name("lanpo", "Träume 2")
    ('lanpo', 'lanpo.traume-2.b4bc4402')
    """
    if namespace == "default":
        return collection
    ascii_only = unicodedata.normalize("NFKD", namespace).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower())[:_SLUG_CHARS].strip("-") or "x"
    return f"{collection}.{slug}.{fingerprint(collection, namespace)[:8]}"


def cache_name(collection: str) -> str:
    """The collection of cached bytes, which all namespaces share."""
    return f"{collection}.cache"


def mark(collection: str, part: str, namespace: str = "") -> dict[str, Any]:
    """The metadata that makes a collection part of a pool."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "collection": collection,
        "part": part,
        "namespace": namespace,
    }


def check_mark(name: str, found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> None:
    """Make sure that a collection is what it is taken for. It is not touched.

    Raises:
        PoolFormatError: it is something else.
        PoolVersionError: newer code wrote it.
    """
    metadata = found or {}
    version = metadata.get("version")
    if metadata.get("format") != FORMAT or not isinstance(version, int):
        raise PoolFormatError(
            f"the collection {name!r} is there, but it is not a pool; give another name"
        )
    if version > VERSION:
        raise PoolVersionError(
            f"the collection {name!r} has version {version}, this code knows {VERSION}. "
            "Update with: pip install -U lanpo"
        )
    for key in ("part", "collection", "namespace"):
        if metadata.get(key) != expected[key]:
            raise PoolFormatError(
                f"the collection {name!r} belongs to another pool ({key} "
                f"{metadata.get(key)!r}); give another name"
            )
