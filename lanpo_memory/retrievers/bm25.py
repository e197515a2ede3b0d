"""BM25 that takes every write as it comes, in numpy, over problems."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.texts import words
from lanpo_memory.types import Hit, Problem

__all__ = ["BM25Retriever"]


class BM25Retriever:
    """Incremental BM25 (the formula of Lucene); adding one problem costs its own words only.

    score(q, d) = Σ idf(t) · tf / (tf + k1 · (1 - b + b · |d| / avgdl)), over the words t of q with
    multiplicity, idf(t) = ln(1 + (N - df + ½) / (df + ½)). The similarity of a hit is
    BM25(q, d) / BM25(q, q): 1 for the same words, near 0 for words that are everywhere.
    Ties are broken by a hash of query and document, so that none of many equals is favoured.

    Source: Lucene's `BM25Similarity`; the variant "lucene" of https://arxiv.org/abs/2407.03618.

    >>> index = BM25Retriever()
    >>> index.update([Problem(text="red apples"), Problem(text="green pears")], [])
    >>> [round(h.similarity, 2) for h in index.retrieve([Problem(text="red apples")], k=1)[0]]
    [1.0]
    """

    # On GSM8K (400 queries) the best of 1,000 pooled problems is this similar for 42 % of the
    # queries, the best of 7,000 for 72 %. A default, not a law: look at your own problems.
    default_gamma = 0.3

    def __init__(
        self,
        *,
        k1: float = 1.5,
        b: float = 0.75,
        tokenize: Callable[[str], list[str]] = words,
    ) -> None:
        self.k1, self.b, self._tokenize = k1, b, tokenize
        self._lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._vocabulary: dict[str, int] = {}
        self._postings: list[tuple[array[int], array[int]]] = []
        self._document_frequency: list[int] = []
        self._terms: list[array[int]] = []  # per slot, to take a document out again
        self._lengths: array[float] = array("f")
        self._ties: array[int] = array("Q")
        self._alive = np.zeros(0, dtype=bool)
        self._total_length = 0
        self._dead = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._slots

    # ------------------------------------------------------------------ writing

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """Index new problems and forget removed ids; a known id is left as it is."""
        with self._lock:
            for problem_id in removed:
                self._remove(problem_id)
            for problem in added:
                if problem.id not in self._slots:
                    self._add(problem.id, self._tokenize(problem.text))
            if self._dead > 64 and self._dead > len(self._slots):
                self._compact()

    def _add(self, problem_id: str, tokens: list[str]) -> None:
        slot = len(self._ids)
        terms: array[int] = array("I")
        for token, frequency in Counter(tokens).items():
            term = self._vocabulary.setdefault(token, len(self._vocabulary))
            if term == len(self._postings):
                self._postings.append((array("I"), array("H")))
                self._document_frequency.append(0)
            slots, frequencies = self._postings[term]
            slots.append(slot)
            frequencies.append(min(frequency, 0xFFFF))
            self._document_frequency[term] += 1
            terms.append(term)
        self._slots[problem_id] = slot
        self._ids.append(problem_id)
        self._terms.append(terms)
        self._lengths.append(len(tokens))
        self._ties.append(_hash64(problem_id))
        self._total_length += len(tokens)
        if slot >= len(self._alive):
            self._alive = np.concatenate([self._alive, np.zeros(max(256, slot), dtype=bool)])
        self._alive[slot] = True

    def _remove(self, problem_id: str) -> None:
        slot = self._slots.pop(problem_id, None)
        if slot is None:
            return
        for term in self._terms[slot]:
            self._document_frequency[term] -= 1
        self._total_length -= int(self._lengths[slot])
        self._terms[slot] = array("I")
        self._alive[slot] = False
        self._dead += 1

    def _compact(self) -> None:
        """Rebuild without the removed documents, once they are the majority."""
        names = {term: token for token, term in self._vocabulary.items()}
        tokens: dict[int, list[str]] = {slot: [] for slot in self._slots.values()}
        for term, (slots, frequencies) in enumerate(self._postings):
            for slot, frequency in zip(slots, frequencies, strict=True):
                if slot in tokens:
                    tokens[slot] += [names[term]] * frequency
        live = sorted(self._slots.items(), key=lambda item: item[1])
        self._reset()
        for problem_id, slot in live:
            self._add(problem_id, tokens[slot])

    # ------------------------------------------------------------------ reading

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` problems that share a word with each query, best first."""
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, got {k}")
        with self._lock:
            return [self._retrieve(query, k) for query in queries]

    def _retrieve(self, query: Problem, k: int) -> list[Hit]:
        tokens = Counter(self._tokenize(query.text))
        if not self._slots or not tokens:
            return []
        scores, own = self._scores(tokens)
        return [
            Hit(
                problem_id=self._ids[slot],
                score=float(scores[slot]),
                similarity=min(1.0, float(scores[slot]) / own),
            )
            for slot in self._best(scores, k, _hash64(query.id))
        ]

    def scores(self, query: str) -> dict[str, float]:
        """Return the score of every indexed problem that shares a word with the query."""
        with self._lock:
            if not self._slots:
                return {}
            scores, _ = self._scores(Counter(self._tokenize(query)))
            return {self._ids[slot]: float(scores[slot]) for slot in np.flatnonzero(scores > 0)}

    def _scores(self, tokens: Counter[str]) -> tuple[NDArray[np.float32], float]:
        """Scores per slot (0 for removed documents), and the score the query has for itself."""
        n = len(self._ids)
        average = self._total_length / len(self._slots) or 1.0
        lengths = np.frombuffer(self._lengths, dtype=np.float32)
        norms = (self.k1 * (1 - self.b) + self.k1 * self.b / average * lengths).astype(np.float32)
        own_norm = self.k1 * (1 - self.b + self.b * tokens.total() / average)
        scores, own = np.zeros(n, dtype=np.float32), 0.0
        for token, count in tokens.items():
            term = self._vocabulary.get(token)
            frequency = 0 if term is None else self._document_frequency[term]
            weight = count * np.log1p((len(self._slots) - frequency + 0.5) / (frequency + 0.5))
            own += float(weight) * count / (count + own_norm)
            if term is not None and frequency:
                slots = np.frombuffer(self._postings[term][0], dtype=np.uint32)
                tf = np.frombuffer(self._postings[term][1], dtype=np.uint16).astype(np.float32)
                scores[slots] += np.float32(weight) * tf / (tf + norms[slots])
        scores[~self._alive[:n]] = 0.0
        return scores, own

    def _best(self, scores: NDArray[np.float32], k: int, salt: int) -> NDArray[np.int64]:
        """The slots of the k best positive scores; equals are ordered by a salted hash."""
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            threshold = np.partition(scores[found], len(found) - k)[len(found) - k]
            found = found[scores[found] >= threshold]
        ties = np.frombuffer(self._ties, dtype=np.uint64)[found]
        mixed = (ties ^ np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
        return found[np.lexsort((mixed, -scores[found]))][:k]


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
