"""Words and meaning together: reciprocal rank fusion of two searches."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError
from lanpo_memory.protocols import Retriever
from lanpo_memory.retrievers.cosine import candidates
from lanpo_memory.retrievers.dense import DenseRetriever
from lanpo_memory.retrievers.vectors import check_k, hash64
from lanpo_memory.types import Hit, Problem

__all__ = ["HybridRetriever"]


class HybridRetriever:
    """Adds up 1 / (rrf_k + rank) over a lexical and a dense ranking; ranks start at 1.

    `score` is that sum, at most 2 / (rrf_k + 1), and orders the hits; equals are ordered by cosine,
    then by a hash. `similarity` is the cosine (negative ones as 0), of hits that only the lexical
    search found, too. So it need not fall along the list, and a gamma means the same as a
    `DenseRetriever`'s.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009,
    https://plg.uwaterloo.ca/~gvcormac/cormacksigir09-rrf.pdf

    Args:
        lexical: such as a `BM25Retriever`. Both are filled and kept up to date from here: hand
            over empty ones and leave them alone.
        dense: gives the second ranking and all cosines.
        rrf_k: the larger, the less the first ranks stand out; 60 in the paper.
        shortlist: how far down each ranking counts, at least.

    Raises:
        ConfigError: `rrf_k` is negative, or `shortlist` is below 1.

    >>> from lanpo_memory.retrievers import BM25Retriever
    >>> from lanpo_memory.testing import HashingEmbedder
    >>> index = HybridRetriever(BM25Retriever(), DenseRetriever(HashingEmbedder()))
    >>> index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    >>> [round(h.score, 4) for h in index.retrieve([Problem(text="red apples")], k=2)[0]]
    [0.0328, 0.0161]
    """

    def __init__(
        self,
        lexical: Retriever,
        dense: DenseRetriever,
        *,
        rrf_k: int = 60,
        shortlist: int = 100,
    ) -> None:
        if rrf_k < 0 or shortlist < 1:
            raise ConfigError(
                f"rrf_k is {rrf_k} and shortlist {shortlist}; at least 0 and 1 make sense"
            )
        self.default_gamma = dense.default_gamma
        self.fingerprint = dense.fingerprint
        self._lexical, self._dense = lexical, dense
        self._rrf_k, self._shortlist = rrf_k, shortlist
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return len(self._dense)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._dense

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`; new problems are embedded."""
        with self._writing:
            self._dense.update(added, removed)  # first: an embedder may fail
            self._lexical.update(added, removed)

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` problems for each query, the highest sum first."""
        check_k(k)
        if not queries or not len(self):
            return [[] for _ in queries]
        width = max(k, self._shortlist)
        lexical_P = candidates(self._lexical, queries, k=width)
        rows = self._dense.embed(queries)
        dense_P = self._dense.nearest(queries, rows, k=width)
        cosines_P = self._cosines(rows, lexical_P, dense_P)
        return [
            _hits(self._fuse(lexical, dense), cosines, k, query.id)
            for query, lexical, (dense, _), cosines in zip(
                queries, lexical_P, dense_P, cosines_P, strict=True
            )
        ]

    def _fuse(self, *rankings: Sequence[str]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for ranking in rankings:
            for rank, problem_id in enumerate(ranking, start=1):
                sums[problem_id] = sums.get(problem_id, 0.0) + 1.0 / (self._rrf_k + rank)
        return sums

    def _cosines(
        self,
        rows: NDArray[np.float32],
        lexical_P: Sequence[Sequence[str]],
        dense_P: Sequence[tuple[list[str], NDArray[np.float32]]],
    ) -> list[dict[str, float]]:
        """The cosine of every problem of both rankings; those that are gone are left out."""
        known_P = [dict(zip(ids, found.tolist(), strict=True)) for ids, found in dense_P]
        rest_P = [
            [problem_id for problem_id in lexical if problem_id not in known]
            for lexical, known in zip(lexical_P, known_P, strict=True)
        ]
        found_P = self._dense.cosines(rows, rest_P)
        for known, rest, found in zip(known_P, rest_P, found_P, strict=True):
            pairs = zip(rest, found.tolist(), strict=True)
            known.update((i, cosine) for i, cosine in pairs if not math.isnan(cosine))
        return known_P


def _hits(sums: dict[str, float], cosines: dict[str, float], k: int, query_id: str) -> list[Hit]:
    ranked = sorted((-sums[i], -cosine, i) for i, cosine in cosines.items())
    last = ranked[min(k, len(ranked)) - 1][:2] if ranked else (0.0, 0.0)
    tied = [entry for entry in ranked if entry[:2] <= last]
    tied.sort(key=lambda entry: (*entry[:2], hash64(query_id, entry[2])))
    return [
        Hit(problem_id=problem_id, score=-score, similarity=min(1.0, max(0.0, -cosine)))
        for score, cosine, problem_id in tied[:k]
    ]
