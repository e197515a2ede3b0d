"""Exact cosine search over all problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.protocols import Embedder
from lanpo_memory.retrievers.vectors import EmbeddedProblems, as_hits, check_k, cosines, nearest
from lanpo_memory.types import Hit, Problem

__all__ = ["DenseRetriever"]

_BLOCK_SCORES = 16_000_000  # 64 MB of float32


class DenseRetriever:
    """Compares the query with every problem; nothing is approximate.

    One matrix product for a batch of queries: reading 31,250 rows of 384 numbers (48 MB) takes a
    few milliseconds a batch. `score` is the cosine, `similarity` the same with negative ones as 0.

    Args:
        embedder: wrap it in a `CachedEmbedder`, so that opening a pool embeds nothing again.
        default_gamma: least similarity worth showing. With MiniLM the median random pair of
            GSM8K is at 0.35, two problems of the same template at 0.83.

    >>> from lanpo_memory.testing import HashingEmbedder
    >>> index = DenseRetriever(HashingEmbedder())
    >>> index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    >>> [round(h.similarity, 2) for h in index.retrieve([Problem(text="red apples")], k=1)[0]]
    [1.0]
    """

    def __init__(self, embedder: Embedder, default_gamma: float = 0.6) -> None:
        self.default_gamma = default_gamma
        self._problems = EmbeddedProblems(embedder)
        self.fingerprint = self._problems.fingerprint

    def __len__(self) -> int:
        return len(self._problems.vectors)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._problems.vectors

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`; new problems are embedded, 4,096 a call."""
        self._problems.update(added, removed)

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return the `k` problems closest to each query, best first."""
        return [as_hits(*found) for found in self.shortlist(queries, k=k)]

    def shortlist(
        self, queries: Sequence[Problem], *, k: int
    ) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Return ids and cosines of the `k` problems closest to each query, best first.

        The same as `retrieve`, without an object for each hit.
        """
        check_k(k)
        if not queries or not len(self):
            return [([], np.zeros(0, dtype=np.float32)) for _ in queries]
        return self.nearest(queries, self.embed(queries), k=k)

    def embed(self, queries: Sequence[Problem]) -> NDArray[np.float32]:
        """Return the unit rows of the queries, shape (q, d), for `nearest` and `cosines`."""
        return self._problems.embed(queries)

    def nearest(
        self, queries: Sequence[Problem], rows: NDArray[np.float32], *, k: int
    ) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Like `shortlist`, for queries whose rows are known."""
        with self._problems.lock:
            if not len(self):
                return [([], np.zeros(0, dtype=np.float32)) for _ in queries]
            ids, matrix = self._problems.vectors.ids, self._problems.vectors.matrix
            step = max(1, _BLOCK_SCORES // len(matrix))
            blocks = (rows[i : i + step] @ matrix.T for i in range(0, len(rows), step))
            scores_P = (scores for block in blocks for scores in block)
            return [
                nearest(ids, matrix, scores, k, row, query.id)
                for query, row, scores in zip(queries, rows, scores_P, strict=True)
            ]

    def similarities(
        self, queries: Sequence[Problem], ids: Sequence[Sequence[str]]
    ) -> list[NDArray[np.float32]]:
        """Return, for each query, the similarity in 0..1 of the problems named for it.

        `ids` holds one sequence a query; an id that is not indexed is 0.
        """
        found = self.cosines(self.embed(queries), ids)
        return [np.clip(np.nan_to_num(row), 0.0, 1.0) for row in found]

    def cosines(
        self, rows: NDArray[np.float32], ids: Sequence[Sequence[str]]
    ) -> list[NDArray[np.float32]]:
        """Return, for each query row, the cosines of the problems named; NaN if not indexed."""
        with self._problems.lock:
            return [self._cosines(row, some) for row, some in zip(rows, ids, strict=True)]

    def _cosines(self, row: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._problems.vectors
        places = [place for place, problem_id in enumerate(ids) if problem_id in vectors]
        result = np.full(len(ids), np.nan, dtype=np.float32)
        if places:
            result[places] = cosines(vectors.rows([ids[place] for place in places]), row)
        return result
