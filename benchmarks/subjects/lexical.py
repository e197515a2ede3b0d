"""Three BM25 indexes in memory: ours, bm25s and rank_bm25. No persistence, no payload.

All split texts with the same function, `lanpo_memory.texts.words`. A query is asked in two ways:
from its raw text, the splitting within the clock; and with the words already split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import corpus
from benchmarks.measure import timed
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.texts import words
from lanpo_memory.types import Problem

K = 10
Tokens = list[str]
Ranking = tuple[list[int], list[float]]
"""Document numbers and their scores, best first."""


class _Lexical:
    """What the three have in common: the texts, and the clock around `_search`."""

    def __init__(self, texts: str) -> None:
        folder = Path(texts)
        self._documents = corpus.read(folder, "documents").texts
        self._extra = corpus.read(folder, "extra").texts
        self._queries = corpus.read(folder, "queries").texts
        self._tokens_of = {text: words(text) for text in self._queries}

    def query(self, start: int, stop: int, *, raw: bool) -> list[float]:
        """Ask for the best 10 of each query, by itself; milliseconds."""
        return [timed(self._search, t, raw, K) for t in self._queries[start:stop]]

    def top(self, start: int, stop: int, k: int) -> list[Ranking]:
        """The best k of each query, with their scores."""
        return [self._search(text, False, k) for text in self._queries[start:stop]]

    def _search(self, text: str, raw: bool, k: int) -> Ranking:
        raise NotImplementedError


class LanpoBM25(_Lexical):
    """`BM25Retriever`, which takes texts only: split words are looked up by the query's text."""

    def build(self) -> float:
        self._raw = True
        self._index = BM25Retriever(tokenize=self._tokenize)
        problems = [Problem(text=t, id=str(i)) for i, t in enumerate(self._documents)]
        return timed(self._index.update, problems, [])

    def _tokenize(self, text: str) -> Tokens:
        return words(text) if self._raw else self._tokens_of[text]

    def _search(self, text: str, raw: bool, k: int) -> Ranking:
        self._raw = raw
        hits = self._index.retrieve([Problem(text=text)], k=k)[0]
        return [int(hit.problem_id) for hit in hits], [hit.score for hit in hits]

    def add(self, start: int, stop: int) -> dict[str, float]:
        """Put documents into the index that is there, then ask one query."""
        self._raw = True
        first = len(self._documents) + start
        texts = self._extra[start:stop]
        new = [Problem(text=text, id=str(i)) for i, text in enumerate(texts, first)]
        ms = timed(self._index.update, new, [])
        return {"ms": ms, "with_query_ms": ms + self.query(0, 1, raw=True)[0]}


class _Rebuilt(_Lexical):
    """An index that cannot grow: adding means building it again, from words already split."""

    def build(self) -> float:
        self._split = [words(text) for text in self._documents]
        return timed(self._replace, self._split)

    def _replace(self, split: list[Tokens]) -> None:
        raise NotImplementedError

    def add(self, start: int, stop: int) -> dict[str, float]:
        grown = self._split + [words(text) for text in self._extra[start:stop]]
        ms = timed(self._replace, grown)
        return {"ms": ms, "with_query_ms": ms + self.query(0, 1, raw=True)[0]}

    def restore(self) -> None:
        """Go back to the index without additions."""
        self._replace(self._split)


class BM25S(_Rebuilt):
    """bm25s with the formula of Lucene and its numpy backend; numba must not be there."""

    def _replace(self, split: list[Tokens]) -> None:
        import bm25s

        self._index = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
        self._index.index(split, show_progress=False)

    def numba(self) -> bool:
        """Whether numba could have been used."""
        import bm25s

        return bool(bm25s.NUMBA_AVAILABLE)

    def _search(self, text: str, raw: bool, k: int) -> Ranking:
        tokens = words(text) if raw else self._tokens_of[text]
        found, scores = self._index.retrieve(
            [tokens], k=k, show_progress=False, n_threads=0, backend_selection="numpy"
        )
        return found[0].tolist(), scores[0].tolist()

    def scores_of(self, start: int, stop: int, documents: list[list[int]]) -> list[list[float]]:
        """The scores of certain documents, a list of them for each query."""
        scores = [self._index.get_scores(self._tokens_of[t]) for t in self._queries[start:stop]]
        return [s[chosen].tolist() for s, chosen in zip(scores, documents, strict=True)]


class RankBM25(_Rebuilt):
    """rank_bm25's `BM25Okapi`, the best 10 picked with numpy's partition."""

    def _replace(self, split: list[Tokens]) -> None:
        from rank_bm25 import BM25Okapi

        self._index = BM25Okapi(split, k1=1.5, b=0.75)

    def _search(self, text: str, raw: bool, k: int) -> Ranking:
        tokens = words(text) if raw else self._tokens_of[text]
        scores: NDArray[np.float64] = self._index.get_scores(tokens)
        best = _best(scores, k)
        return best, scores[best].tolist()


def _best(scores: NDArray[np.float64], k: int) -> list[int]:
    rows = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
    return [int(row) for row in rows[np.argsort(-scores[rows], kind="stable")]]
