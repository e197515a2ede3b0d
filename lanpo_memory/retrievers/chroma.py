"""Approximate cosine search in a Chroma collection."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.chroma import ChromaPlace, check_name
from lanpo_memory.errors import ConfigError, EmbedderMismatchError, PoolFormatError
from lanpo_memory.protocols import Embedder
from lanpo_memory.retrievers.vectors import EmbeddedProblems, best, check_k
from lanpo_memory.types import Hit, Problem

__all__ = ["ChromaRetriever"]

_FORMAT = "lanpo-problems"
_AT_ONCE = 1_000  # problems embedded, stored or looked up in one request
_SPARE = 4  # found beyond `k`, so that equals at the end of the list are ordered among themselves
# Wider than Chroma's defaults (100): a pool asks for some 32 problems, and misses cost guidance.
_INDEX = {"hnsw": {"space": "cosine", "ef_construction": 200, "ef_search": 200}}


class ChromaRetriever:
    """Chroma's vector search over the problems of a pool, which may be kept in any store.

    Vectors come from the embedder and stay in the collection: a pool that is opened again embeds
    what is new. The search is approximate: it may miss a close problem (among 2,000 texts it found
    ten as close as those of `DenseRetriever` for each of 50 queries). `score` is the cosine,
    `similarity` the same with negative ones as 0.

    The collection belongs to one embedder, and to one pool but for those that are searched in the
    same process: what another process removes from it is gone for all. What it holds beyond the
    problems of this pool is never returned; in a folder, which nobody else has open, what is left
    over from earlier is removed by the first `update`.

    Args:
        embedder: texts to unit vectors; there is no default, which in Chroma is a download.
        folder: where the collection is, or
        host: the server where it is, with `port` and `secure`, or
        place: a folder or server that is open already, such as that of a `ChromaStore`.
        collection: its name.
        default_gamma: least similarity worth showing, see `DenseRetriever`.

    Raises:
        ConfigError: not exactly one of `folder`, `host` and `place` is given.
        EmbedderMismatchError: the collection holds vectors of another embedder.
        PoolFormatError: the collection is something else.
        PoolBusyError: somebody has the folder open.
        PoolConnectionError: the server cannot be reached.
        MissingExtraError: chromadb is not installed.

    >>> import tempfile
    >>> from lanpo_memory.testing import HashingEmbedder
    >>> with ChromaRetriever(HashingEmbedder(), folder=tempfile.mkdtemp()) as index:
    ...     index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    ...     hits = index.retrieve([Problem(text="red apples")], k=1)[0]
    >>> [round(hit.similarity, 2) for hit in hits]
    [1.0]
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        folder: str | Path | None = None,
        host: str | None = None,
        port: int = 8000,
        secure: bool = False,
        place: ChromaPlace | None = None,
        collection: str = "lanpo-problems",
        default_gamma: float = 0.6,
    ) -> None:
        check_name(collection)
        self.default_gamma = default_gamma
        self.fingerprint = f"cosine-approximate-hnsw:{embedder.fingerprint}"
        self._rows = EmbeddedProblems(embedder)  # for its checks; it holds no vectors here
        self._place = _opened(folder, host, port, secure, place)
        self._owned = place is None
        self._users = self._place.users.setdefault(collection, WeakSet())
        self._known: dict[str, None] = {}
        self._first = True
        self._lock = threading.RLock()
        try:
            self._collection = _bound(self._place, collection, embedder.fingerprint)
            self._users.add(self)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._known

    def close(self) -> None:
        """Free the folder or the connection, unless it was handed over open."""
        self._users.discard(self)
        if self._owned:
            self._place.close()

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`; what the collection has already is not embedded again."""
        with self._lock:
            gone = [i for i in dict.fromkeys(removed) if i in self._known]
            self._delete(gone)
            for problem_id in gone:
                del self._known[problem_id]
            new = {p.id: p for p in reversed(added) if p.id not in self._known}
            if self._first and self._place.exclusive:
                self._delete([i for i in self._stored_ids() if i not in new])
            self._first = False
            problems = list(new.values())[::-1]
            for start in range(0, len(problems), _AT_ONCE):
                self._add(problems[start : start + _AT_ONCE])

    def _add(self, problems: Sequence[Problem]) -> None:
        stored = self._stored_texts([p.id for p in problems])
        missing = [p for p in problems if stored.get(p.id) != _hash(p.text)]
        if missing:
            rows = self._rows.embed(missing)
            for start in range(0, len(missing), self._place.max_batch):
                part = slice(start, start + self._place.max_batch)
                self._place.call(
                    self._collection.upsert,  # `add` would keep the vector of another text
                    ids=[p.id for p in missing[part]],
                    embeddings=rows[part],
                    metadatas=[{"text": _hash(p.text)} for p in missing[part]],
                )
        self._known.update(dict.fromkeys(p.id for p in problems))

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` problems close to each query, best first; one request for all."""
        check_k(k)
        with self._lock:
            wanted = min(k, len(self._known))
            if not queries or not wanted:
                return [[] for _ in queries]
            rows, size = self._rows.embed(queries), self._size()
            width = min(size, wanted + _SPARE)
            while True:
                found = self._nearest(rows, width)
                enough = all(len(ids) >= wanted for ids, _ in found)
                if enough or width >= size:
                    break
                width = min(size, 4 * width)  # what is not this pool's took the places
        return [
            _hits(query.id, ids, scores, k)
            for query, (ids, scores) in zip(queries, found, strict=True)
        ]

    def _nearest(
        self, rows: NDArray[np.float32], width: int
    ) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Ids and cosines of this pool's among the `width` vectors closest to each row."""
        answer = self._place.call(
            self._collection.query, query_embeddings=rows, n_results=width, include=["distances"]
        )
        found: list[tuple[list[str], NDArray[np.float32]]] = []
        for ids, distances in zip(answer["ids"], answer["distances"], strict=True):
            kept = [(i, 1.0 - d) for i, d in zip(ids, distances, strict=True) if i in self._known]
            # Equal texts have equal cosines but for the last bits.
            scores = np.array([round(score, 6) for _, score in kept], dtype=np.float32)
            found.append(([i for i, _ in kept], scores))
        return found

    def _size(self) -> int:
        return int(self._place.call(self._collection.count))

    def _delete(self, ids: Sequence[str]) -> None:
        """Remove vectors, but for those that another pool of this process still searches."""
        others = [user for user in self._users if user is not self]
        ids = [i for i in ids if not any(i in user for user in others)]
        for start in range(0, len(ids), _AT_ONCE):
            self._place.call(self._collection.delete, ids=list(ids[start : start + _AT_ONCE]))

    def _stored_ids(self) -> list[str]:
        ids: list[str] = []
        while page := self._place.call(
            self._collection.get, limit=_AT_ONCE, offset=len(ids), include=[]
        )["ids"]:
            ids += page
        return ids

    def _stored_texts(self, ids: Sequence[str]) -> Mapping[str, str]:
        rows = self._place.call(self._collection.get, ids=list(ids), include=["metadatas"])
        return {
            i: (m or {}).get("text", "")
            for i, m in zip(rows["ids"], rows["metadatas"], strict=True)
        }


def _opened(
    folder: str | Path | None,
    host: str | None,
    port: int,
    secure: bool,
    place: ChromaPlace | None,
) -> ChromaPlace:
    if sum(each is not None for each in (folder, host, place)) != 1:
        raise ConfigError(
            "say where Chroma is with exactly one of folder=, host= and place= "
            "(the place of a ChromaStore that is open)"
        )
    if folder is not None:
        return ChromaPlace.folder(folder)
    if host is not None:
        return ChromaPlace.server(host, port=port, secure=secure)
    assert place is not None
    return place


def _bound(place: ChromaPlace, name: str, embedder: str) -> Any:
    """The collection of this name, bound to the embedder."""
    metadata = {"format": _FORMAT, "version": 1, "embedder": embedder}
    collection = place.made(name, metadata, _INDEX)
    found = collection.metadata or {}
    if found.get("format") != _FORMAT:
        raise PoolFormatError(
            f"the collection {name!r} is there and does not hold problems' vectors; it was not "
            "touched. Give another name"
        )
    if found.get("embedder") != embedder:
        raise EmbedderMismatchError(
            f"the collection {name!r} holds vectors of {found.get('embedder')!r}, not of "
            f"{embedder!r}. Give that embedder, or another collection"
        )
    return collection


def _hits(query_id: str, ids: Sequence[str], scores: NDArray[np.float32], k: int) -> list[Hit]:
    return [
        Hit(ids[i], float(scores[i]), min(1.0, max(0.0, float(scores[i]))))
        for i in best(ids, scores, k, query_id)
    ]


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
