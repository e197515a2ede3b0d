"""An embedder that pays for each text once and keeps the vectors in the pool."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import (
    ConfigError,
    EmbedderMismatchError,
    InvalidInputError,
    PromiseError,
)
from lanpo_memory.protocols import Embedder, ExperienceStore
from lanpo_memory.types import Promise

__all__ = ["CachedEmbedder"]

_DTYPES = {"float32": "<f4", "float16": "<f2"}
_PAID_AT_ONCE = 1024  # texts; what an interrupted run can lose
_LOOKED_UP_AT_ONCE = 2000  # keys


class CachedEmbedder:
    """Looks each text up in memory, then in the store, and embeds what neither has.

    The store keeps the rows of every embedder apart by its fingerprint, as little-endian float32.
    A store with `vector_dtype = "float16"` keeps half of that: each row is rounded before its first
    use. So a row is the same bits whenever it comes back. New texts are embedded and stored 1,024
    at a time: a run that is interrupted keeps what it paid for. Threads may share one; the model
    is asked by one of them at a time, and never twice for the same text.

    Args:
        embedder: pays for new texts.
        store: keeps the rows; it has to promise `Promise.CACHE`.
        memory: how many rows this process keeps at hand (d · 4 bytes each, or 2), the latest used.
        buffer: how many new rows may wait for `flush`, so that not every new question costs a
            commit; 0 stores each at once. What waits is lost with the process, and embedded again.

    Attributes:
        embedded: texts the embedder was asked for.
        reused: texts answered without it; a text that stands twice in a call counts twice.

    Raises:
        ConfigError: `memory` or `buffer` is negative.
        PromiseError: the store keeps no cache.
        InvalidInputError: `embed` got rows that are not finite unit rows, one for each text.
        EmbedderMismatchError: `embed` met rows of another length under the same fingerprint.

    >>> from lanpo_memory.stores import MemoryStore
    >>> from lanpo_memory.testing import HashingEmbedder
    >>> embedder = CachedEmbedder(HashingEmbedder(), MemoryStore())
    >>> embedder.embed(["red apples", "green pears", "red apples"]).shape
    (3, 64)
    >>> embedder.embedded, embedder.reused
    (2, 1)
    """

    def __init__(
        self, embedder: Embedder, store: ExperienceStore, memory: int = 8192, *, buffer: int = 0
    ) -> None:
        for name, value in (("memory", memory), ("buffer", buffer)):
            if value < 0:
                raise ConfigError(f"{name} is {value}; it counts rows, 0 keeps none")
        if Promise.CACHE not in store.promises:
            raise PromiseError(
                f"{type(store).__name__} keeps no cache, so every text would be embedded again and "
                "again; use a store that promises it, or the embedder without a cache"
            )
        self.fingerprint = embedder.fingerprint
        self.embedded = 0
        self.reused = 0
        self._embedder, self._store, self._memory = embedder, store, memory
        self._dtype = np.dtype(_DTYPES[getattr(store, "vector_dtype", "float32")])
        half = "16" if self._dtype.itemsize == 2 else ""
        self._prefix = f"emb{half}:{_hash(embedder.fingerprint)}:"
        self._dim: int | None = getattr(embedder, "dim", None)
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._buffer = buffer
        self._waiting: dict[str, bytes] = {}
        self._guard = threading.Lock()  # of what is above and of the counters; held briefly
        self._model = threading.Lock()
        self._flushing = threading.Lock()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape (n, d), in the order of the texts; (0, 0) before d is known."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        distinct = list(places)
        keys = [self._key(text) for text in distinct]
        blobs = self._look_up(keys)
        missing = [place for place, blob in enumerate(blobs) if blob is None]
        for start in range(0, len(missing), _PAID_AT_ONCE):
            part = missing[start : start + _PAID_AT_ONCE]
            paid = self._pay([keys[i] for i in part], [distinct[i] for i in part])
            for place, blob in zip(part, paid, strict=True):
                blobs[place] = blob
        known = [blob for blob in blobs if blob is not None]
        rows = self._decode(known)
        self._remember(keys, known)
        with self._guard:
            self.reused += len(texts) - len(missing)
        if len(distinct) == len(texts):
            return rows
        return rows[[places[text] for text in texts]]

    def flush(self) -> None:
        """Store the rows that wait for it."""
        with self._flushing:
            with self._guard:
                waiting = dict(self._waiting)
            if waiting:
                self._store.cache(list(waiting.items()))
            with self._guard:
                for key in waiting:
                    self._waiting.pop(key, None)

    def has(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether `embed` would answer it without asking the embedder."""
        return [blob is not None for blob in self._look_up([self._key(text) for text in texts])]

    def _key(self, text: str) -> str:
        return self._prefix + _hash(text)

    def _look_up(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._guard:
            blobs = [self._recent.get(key) or self._waiting.get(key) for key in keys]
        absent = [place for place, blob in enumerate(blobs) if blob is None]
        for start in range(0, len(absent), _LOOKED_UP_AT_ONCE):
            part = absent[start : start + _LOOKED_UP_AT_ONCE]
            stored = self._store.cached([keys[place] for place in part])
            for place, blob in zip(part, stored, strict=True):
                blobs[place] = blob
        return blobs

    def _pay(self, keys: Sequence[str], texts: Sequence[str]) -> list[bytes]:
        """Embed and store the texts, save those that another thread has just paid for."""
        with self._model:
            blobs = dict(zip(keys, self._look_up(keys), strict=True))
            new = {k: text for k, text in zip(keys, texts, strict=True) if blobs[k] is None}
            fresh = self._encode(list(new.values())) if new else []
            paid = dict(zip(new, fresh, strict=True))
            blobs.update(paid)
            with self._guard:
                self._waiting.update(paid)
                self.embedded += len(new)
                self.reused += len(texts) - len(new)
                full = len(self._waiting) > self._buffer
        if full:
            self.flush()
        return [blob for blob in blobs.values() if blob is not None]

    def _encode(self, texts: Sequence[str]) -> list[bytes]:
        rows = np.asarray(self._embedder.embed(texts))
        if rows.ndim != 2 or len(rows) != len(texts) or rows.shape[1] == 0:
            raise InvalidInputError(
                f"the embedder {self.fingerprint!r} returned shape {rows.shape} for {len(texts)} "
                "texts; it has to return one row for each"
            )
        rows = np.ascontiguousarray(rows, dtype="<f4")
        self._check_length(rows.shape[1])
        if not _are_unit(rows):
            raise InvalidInputError(
                f"the embedder {self.fingerprint!r} returned rows that are not finite or not of "
                "length one; nothing was stored. Have it normalise its rows"
            )
        return [row.tobytes() for row in rows.astype(self._dtype, copy=False)]

    def _decode(self, blobs: Sequence[bytes]) -> NDArray[np.float32]:
        sizes = {len(blob) for blob in blobs}
        for size in sorted(sizes):
            self._check_length(size / self._dtype.itemsize)
        flat = np.frombuffer(bytearray().join(blobs), dtype=self._dtype)
        rows = flat.astype(np.float32, copy=False).reshape(len(blobs), self._dim or 0)
        if not _are_unit(rows):
            raise EmbedderMismatchError(
                f"the store holds damaged vectors of {self.fingerprint!r}: some are not finite or "
                "not of length one. Restore the pool from a backup or a snapshot"
            )
        return rows

    def _check_length(self, length: float) -> None:
        """Learn the length of a row from the first one; refuse every other length."""
        with self._guard:
            if self._dim is None and length >= 1 and length == int(length):
                self._dim = int(length)
            if length == self._dim:
                return
        raise EmbedderMismatchError(
            f"a vector of {self.fingerprint!r} has {length:g} numbers instead of "
            f"{self._dim or 'a whole number'}. Another model answers under the same fingerprint, "
            "or the pool is damaged"
        )

    def _remember(self, keys: Sequence[str], blobs: Sequence[bytes]) -> None:
        with self._guard:
            for key, blob in zip(keys[-self._memory :], blobs[-self._memory :], strict=True):
                self._recent[key] = blob
                self._recent.move_to_end(key)
            while len(self._recent) > self._memory:
                self._recent.popitem(last=False)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _are_unit(rows: NDArray[np.float32]) -> bool:
    """True for rows of length one; a row that is not finite has no length."""
    squares = np.einsum("nd,nd->n", rows, rows)
    return bool((np.abs(squares - 1.0) < 1e-2).all())
