"""Bytes under keys in a Chroma collection, which the namespaces of a pool share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import PoolDamagedError
from lanpo_memory.stores.chroma_log import pieces, put
from lanpo_memory.stores.chroma_names import cache_name, check_mark, mark
from lanpo_memory.stores.chroma_records import Stored

__all__ = ["ChromaCache"]

_KEYS_AT_ONCE = 1_000


class ChromaCache:
    """Embeddings, scores and calibrations; the collection is made with the first of them.

    The bytes are base64 in the metadata, not in documents: Chroma's full-text index would take
    every three letters of them, and storing would take ten times as long.
    """

    def __init__(self, place: ChromaPlace, collection: str) -> None:
        self._place = place
        self._name = cache_name(collection)
        self._mark = mark(collection, "cache")
        self._found: Any = None

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of each key, `None` where there are none."""
        collection = self._collection(create=False) if keys else None
        if collection is None:
            return [None] * len(keys)
        found: dict[str, str] = {}
        for some in pieces([_id(key) for key in dict.fromkeys(keys)], _KEYS_AT_ONCE):
            rows = self._place.call(collection.get, ids=some, include=["metadatas"])
            values = (row["value"] for row in rows["metadatas"])
            found.update(zip(rows["ids"], values, strict=True))
        return [_bytes(key, found.get(_id(key))) for key in keys]

    def put(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Store bytes, replacing what was there; the last of equal keys counts."""
        records = [
            Stored(_id(key), {"value": base64.b64encode(value).decode()})
            for key, value in dict(items).items()
        ]
        if records:
            put(self._place, self._collection(create=True).upsert, records)

    def _collection(self, *, create: bool) -> Any:
        if self._found is None:
            found = self._place.get(self._name)
            if found is None and create:
                found = self._place.made(self._name, self._mark)
            if found is not None:
                check_mark(self._name, found.metadata, self._mark)
            self._found = found
        return self._found


def _id(key: str) -> str:
    return f"={key}"  # Chroma takes no empty id


def _bytes(key: str, value: str | None) -> bytes | None:
    try:
        return None if value is None else base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise PoolDamagedError(f"the cached bytes of {key!r} cannot be read: {error}") from error
