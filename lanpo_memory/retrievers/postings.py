"""Which words stand in which documents, how often: what BM25 is computed from."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

__all__ = ["Postings"]

_CHUNK = 4_096  # documents tokenised before their words are counted
_SLOT_BITS = 32  # of the 64 of a key (term, slot), by which postings are sorted
_MAX_TF = 0xFFFF


class _Vocabulary(dict[str, int]):
    """Words to numbers; a word that is asked for with [] gets one."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class Postings:
    """An inverted index of numbered documents ("slots"), grown one document at a time.

    What was built in one go lies in flat arrays, sorted by term (`_starts`, `_slots`,
    `_frequencies`); what was appended since in one growing array a term. Removing a document
    leaves its postings where they are and clears its `alive`.
    """

    def __init__(self) -> None:
        self.vocabulary = _Vocabulary()
        self.document_frequency: list[int] = []
        self.total_length = 0
        self.dead = 0
        self._lengths: array[float] = array("f")
        self._alive: array[int] = array("B")
        self._starts = np.zeros(1, dtype=np.int64)
        self._slots = np.zeros(0, dtype=np.uint32)
        self._frequencies = np.zeros(0, dtype=np.uint16)
        self._built = 0  # how many slots the flat arrays hold
        self._by_document: tuple[NDArray[np.int64], NDArray[np.uint32]] | None = None
        self._new: dict[int, tuple[array[int], array[int]]] = {}
        self._new_terms: list[array[int]] = []

    def __len__(self) -> int:
        """How many slots there are, removed ones included."""
        return len(self._lengths)

    @property
    def lengths(self) -> NDArray[np.float32]:
        """Words per document, shape (slots,). A view: let go of it before the next write."""
        return np.frombuffer(self._lengths, dtype=np.float32)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which slots were not removed, shape (slots,). A view, too."""
        return np.frombuffer(self._alive, dtype=np.bool_)

    def of(self, term: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """The slots that hold a term, each once, and how often they do."""
        slots, frequencies = self._slots[:0], self._frequencies[:0]
        if term + 1 < len(self._starts):
            start, stop = self._starts[term], self._starts[term + 1]
            slots, frequencies = self._slots[start:stop], self._frequencies[start:stop]
        if term not in self._new:
            return slots, frequencies
        new_slots, new_frequencies = self._new[term]
        return (
            np.concatenate([slots, np.frombuffer(new_slots, dtype=np.uint32)]),
            np.concatenate([frequencies, np.frombuffer(new_frequencies, dtype=np.uint16)]),
        )

    # ------------------------------------------------------------------ writing

    def append(self, tokens: Sequence[str]) -> None:
        """Add one document; its slot is the next number."""
        slot, terms = len(self._lengths), array("I")
        for token, frequency in Counter(tokens).items():
            term = self.vocabulary[token]
            if term == len(self.document_frequency):
                self.document_frequency.append(0)
            if term not in self._new:
                self._new[term] = array("I"), array("H")
            slots, frequencies = self._new[term]
            slots.append(slot)
            frequencies.append(min(frequency, _MAX_TF))
            self.document_frequency[term] += 1
            terms.append(term)
        self._new_terms.append(terms)
        self._note(len(tokens))

    def _note(self, length: int) -> None:
        self._lengths.append(length)
        self._alive.append(1)
        self.total_length += length

    def build(self, documents: Iterable[Sequence[str]]) -> None:
        """Add many documents to an empty index, far faster than one by one."""
        documents = iter(documents)
        pieces = [np.zeros(0, dtype=np.uint64)]
        while chunk := list(islice(documents, _CHUNK)):
            first = len(self)
            numbers = map(self.vocabulary.__getitem__, chain.from_iterable(chunk))
            terms = np.fromiter(numbers, dtype=np.uint64)
            lengths = np.array([len(tokens) for tokens in chunk])
            slots = np.repeat(np.arange(first, first + len(chunk), dtype=np.uint64), lengths)
            pieces.append((terms << np.uint64(_SLOT_BITS)) | slots)
            self._lengths.extend(lengths.tolist())
        self._alive.extend(bytes([1]) * (len(self) - len(self._alive)))
        keys = np.sort(np.concatenate(pieces))
        self.total_length += len(keys)
        ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(keys) - 1)[: len(keys)]
        self._freeze(keys[ends], np.diff(ends, prepend=-1))

    def _freeze(self, keys: NDArray[np.uint64], frequencies: NDArray[np.int64]) -> None:
        """Take sorted keys and how often each occurs as the flat arrays."""
        terms = (keys >> _SLOT_BITS).astype(np.int64)
        self._slots = keys.astype(np.uint32)  # the lower half
        self._frequencies = np.minimum(frequencies, _MAX_TF).astype(np.uint16)
        counts = np.bincount(terms, minlength=len(self.vocabulary))
        self._starts = _starts(counts)
        self.document_frequency = counts.tolist()
        self._built, self._by_document = len(self), None
        self._new, self._new_terms = {}, []

    def remove(self, slot: int) -> None:
        """Take a document out: it no longer counts, and its scores are to be ignored."""
        for term in self._terms(slot):
            self.document_frequency[term] -= 1
        self.total_length -= int(self._lengths[slot])
        self._alive[slot] = 0
        self.dead += 1

    def _terms(self, slot: int) -> Iterable[int]:
        """The different words of a document; of the built ones sorted out on first use."""
        if slot >= self._built:
            return self._new_terms[slot - self._built]
        if self._by_document is None:
            terms = np.repeat(
                np.arange(len(self._starts) - 1, dtype=np.uint32), np.diff(self._starts)
            )
            order = np.argsort(self._slots, kind="stable")
            counts = np.bincount(self._slots, minlength=self._built)
            self._by_document = _starts(counts), terms[order]
        starts, terms = self._by_document
        found: list[int] = terms[starts[slot] : starts[slot + 1]].tolist()
        return found

    def compact(self, live: Sequence[int]) -> None:
        """Keep these slots only, renumbered in order; unused words are kept."""
        renumbered = np.full(len(self), -1, dtype=np.int64)
        renumbered[np.asarray(live, dtype=np.int64)] = np.arange(len(live))
        pieces, counted = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.uint16)]
        for term in range(len(self.vocabulary)):
            slots, frequencies = self.of(term)  # slots grow, and so do their new numbers
            kept = renumbered[slots] >= 0
            numbers = renumbered[slots[kept]].astype(np.uint64)
            pieces.append(np.uint64(term << _SLOT_BITS) | numbers)
            counted.append(frequencies[kept])
        self._lengths = array("f", self.lengths[list(live)].tobytes())
        self._alive = array("B", bytes([1]) * len(live))
        self.dead = 0
        self._freeze(np.concatenate(pieces), np.concatenate(counted).astype(np.int64))


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
