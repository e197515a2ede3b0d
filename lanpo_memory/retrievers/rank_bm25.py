"""BM25+ of the package rank_bm25: a slow reference to compare with."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import MissingExtraError
from lanpo_memory.retrievers.vectors import best, check_k
from lanpo_memory.texts import words
from lanpo_memory.types import Hit, Problem

__all__ = ["RankBM25Retriever"]


class RankBM25Retriever:
    """`rank_bm25.BM25Plus`, built again from all problems at the first search after a change.

    For comparisons only: at 10,000 problems of 80 words a rebuild takes 0.4 s and a query 45 ms,
    hundreds of times what `BM25Retriever` takes. It is BM25+ because the package's BM25Okapi gives
    the exact match a negative score in a corpus of one or two.

    `score` is the package's. BM25+ adds δ · idf for every word of the query to every document; the
    `similarity` leaves that out: (score - floor) / (score of the query for itself - floor), cut to
    0..1, where the floor is the score of a document without any of the words. Only problems that
    share a word with the query are hits. A word that no problem holds counts like one in a single
    problem.

    Source: Lv and Zhai, CIKM 2011, https://doi.org/10.1145/2063576.2063584;
    https://github.com/dorianbrown/rank_bm25

    Args:
        k1: how fast further occurrences of a word in a document stop counting.
        b: how much long documents are held against their length, 0..1.
        delta: what any occurrence is worth at least.

    Raises:
        MissingExtraError: rank_bm25 is not installed.

    >>> index = RankBM25Retriever()
    >>> index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    >>> [round(h.similarity, 2) for h in index.retrieve([Problem(text="red apples")], k=2)[0]]
    [1.0]
    """

    default_gamma = 0.3  # as for `BM25Retriever`

    def __init__(self, *, k1: float = 1.5, b: float = 0.75, delta: float = 1.0) -> None:
        try:
            from rank_bm25 import BM25Plus
        except ModuleNotFoundError:
            raise MissingExtraError("rank_bm25", "bm25") from None
        self._class, self._k1, self._b, self._delta = BM25Plus, k1, b, delta
        self.fingerprint = f"rank-bm25-plus:k1={k1}:b={b}:delta={delta}:words"
        self._lock = threading.RLock()
        self._problems: dict[str, list[str]] = {}
        self._ids: list[str] = []
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._problems)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._problems

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`; the next search pays for the rebuild."""
        with self._lock:
            for problem_id in removed:
                self._problems.pop(problem_id, None)
            for problem in added:
                if problem.id not in self._problems:
                    self._problems[problem.id] = words(problem.text)
            self._index = None

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` problems that share a word with each query, best first."""
        check_k(k)
        with self._lock:
            self._build()
            return [self._retrieve(query, k) for query in queries]

    def _build(self) -> None:
        """Index the problems that have words: the package divides by their mean number."""
        if self._index is None:
            self._ids = [problem_id for problem_id, tokens in self._problems.items() if tokens]
            if self._ids:
                corpus = [self._problems[problem_id] for problem_id in self._ids]
                self._index = self._class(corpus, k1=self._k1, b=self._b, delta=self._delta)

    def _retrieve(self, query: Problem, k: int) -> list[Hit]:
        tokens = words(query.text)
        if self._index is None or not tokens:
            return []
        shared = [i for i, words_ in enumerate(self._index.doc_freqs) if words_.keys() & {*tokens}]
        scores: NDArray[np.float32] = self._index.get_scores(tokens)[shared].astype(np.float32)
        floor, own = self._range(Counter(tokens))
        ids = [self._ids[i] for i in shared]
        return [
            Hit(
                problem_id=ids[place],
                score=float(scores[place]),
                similarity=min(1.0, max(0.0, (float(scores[place]) - floor) / (own - floor))),
            )
            for place in best(ids, scores, k, query.id)
        ]

    def _range(self, tokens: Counter[str]) -> tuple[float, float]:
        """Score of a document without any of these words, and of one that is these words."""
        norm = self._k1 * (1 - self._b + self._b * tokens.total() / self._index.avgdl)
        unseen = math.log(self._index.corpus_size + 1)
        floor = own = 0.0
        for token, count in tokens.items():
            idf = self._index.idf.get(token)
            floor += 0.0 if idf is None else count * idf * self._delta
            gain = count * (self._k1 + 1) / (count + norm)
            own += count * ((idf or unseen) * gain + (0.0 if idf is None else idf * self._delta))
        return floor, own
