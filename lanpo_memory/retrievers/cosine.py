"""A cheap search finds candidates, cosine of embeddings orders them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError
from lanpo_memory.protocols import Embedder, Retriever
from lanpo_memory.retrievers.vectors import EmbeddedProblems, as_hits, check_k, nearest
from lanpo_memory.types import Hit, Problem

__all__ = ["CosineRetriever", "Shortlister"]


@runtime_checkable
class Shortlister(Protocol):
    """A retriever that can name many candidates without building a `Hit` for each."""

    def shortlist(
        self, queries: Sequence[Problem], *, k: int
    ) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Return the ids and the scores of at most `k` problems for each query, best first."""


class CosineRetriever:
    """The candidates of another retriever, ordered by cosine.

    `score` is the cosine, `similarity` the same with negative ones as 0. What the base does not
    find stays unfound, so a query that shares no word with any problem has no hits over BM25.
    The cosine means the same as a `DenseRetriever`'s, and so does a gamma.

    Args:
        base: finds the candidates, e.g. a `BM25Retriever`. It is filled and kept up to date from
            here: hand over an empty one and leave it alone.
        embedder: wrap it in a `CachedEmbedder`, so that opening a pool embeds nothing again.
        shortlist: how many candidates a query is compared with, at least.
        default_gamma: least similarity worth showing. With MiniLM the median random pair of
            GSM8K is at 0.35, two problems of the same template at 0.83.

    Raises:
        ConfigError: `shortlist` is below 1.

    >>> from lanpo_memory.retrievers import BM25Retriever
    >>> from lanpo_memory.testing import HashingEmbedder
    >>> index = CosineRetriever(BM25Retriever(), HashingEmbedder())
    >>> index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    >>> [round(h.similarity, 2) for h in index.retrieve([Problem(text="red pears apples")], k=2)[0]]
    [0.82, 0.41]
    """

    def __init__(
        self,
        base: Retriever,
        embedder: Embedder,
        shortlist: int = 200,
        default_gamma: float = 0.6,
    ) -> None:
        if shortlist < 1:
            raise ConfigError(f"shortlist is {shortlist}; cosine needs at least 1 candidate")
        self.default_gamma = default_gamma
        self._base, self._shortlist = base, shortlist
        self._problems = EmbeddedProblems(embedder)
        self._writing = threading.Lock()
        self.fingerprint = self._problems.fingerprint

    def __len__(self) -> int:
        return len(self._problems.vectors)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._problems.vectors

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`; new problems are embedded, 4,096 a call."""
        with self._writing:
            self._problems.update(added, removed)  # first: an embedder may fail
            self._base.update(added, removed)

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` candidates for each query, closest first; one call embeds them all."""
        check_k(k)
        ids_P = candidates(self._base, queries, k=max(k, self._shortlist))
        if not any(ids_P):
            return [[] for _ in queries]
        rows = self._problems.embed(queries)
        return [
            self._closest(query, row, ids, k)
            for query, row, ids in zip(queries, rows, ids_P, strict=True)
        ]

    def _closest(
        self, query: Problem, row: NDArray[np.float32], ids: Sequence[str], k: int
    ) -> list[Hit]:
        with self._problems.lock:  # some of the candidates may be removed by now
            here, rows = self._problems.vectors.known(ids)
        return as_hits(*nearest(here, rows, rows @ row, k, row, query.id)) if here else []


def candidates(base: Retriever, queries: Sequence[Problem], *, k: int) -> list[list[str]]:
    """Return the ids of at most `k` problems for each query, best first."""
    if isinstance(base, Shortlister):
        return [ids for ids, _ in base.shortlist(queries, k=k)]
    return [[hit.problem_id for hit in hits] for hits in base.retrieve(queries, k=k)]
