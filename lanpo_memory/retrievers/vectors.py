"""Unit rows by problem id, and what the retrievers over them share."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import EmbedderMismatchError, InvalidInputError
from lanpo_memory.protocols import Embedder
from lanpo_memory.types import Hit, Problem

__all__ = ["EmbeddedProblems", "Vectors"]

_EMBEDDED_AT_ONCE = 4096  # problems
_MARGIN = 1e-5  # products of unit rows in single precision are off by less


class Vectors:
    """A matrix of float32 rows that grows and shrinks, found by problem id.

    It takes n · d · 4 bytes, and at most half as many for growth. A removal moves the last row
    into the gap, so the order of the rows means nothing. It has no lock of its own.

    >>> vectors = Vectors()
    >>> vectors.add(["a", "b"], np.eye(2, dtype=np.float32))
    >>> vectors.remove(["a", "unknown"])
    >>> vectors.ids, vectors.rows(["b"]).tolist()
    (['b'], [[0.0, 1.0]])
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._slots: dict[str, int] = {}
        self._rows = np.zeros((0, 0), dtype=np.float32)
        self._expected = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._slots

    @property
    def matrix(self) -> NDArray[np.float32]:
        """All rows in the order of `ids`, shape (n, d): a view, void after the next change."""
        return self._rows[: len(self.ids)]

    def rows(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return a copy of the rows of these ids, shape (len(ids), d).

        Raises:
            InvalidInputError: an id is not here.
        """
        try:
            slots = [self._slots[problem_id] for problem_id in ids]
        except KeyError as error:
            raise InvalidInputError(f"no vector of problem {error.args[0]!r} is stored") from None
        return self._rows[np.array(slots, dtype=np.intp)]

    def known(self, ids: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
        """Return those of the ids that are here, and a copy of their rows."""
        try:
            slots = list(map(self._slots.__getitem__, ids))
        except KeyError:  # one was removed meanwhile
            ids = [problem_id for problem_id in ids if problem_id in self._slots]
            slots = [self._slots[problem_id] for problem_id in ids]
        return list(ids), self._rows[np.array(slots, dtype=np.intp)]

    def add(self, ids: Sequence[str], rows: NDArray[np.float32]) -> None:
        """Store one row for each id, shape (n, d); a known id is left as it is.

        Raises:
            EmbedderMismatchError: the rows are not as long as those that are here.
        """
        new = {problem_id: i for i, problem_id in reversed(list(enumerate(ids)))}
        places = sorted(i for problem_id, i in new.items() if problem_id not in self._slots)
        if not places:
            return
        self.check(rows)
        start, stop = len(self.ids), len(self.ids) + len(places)
        if stop > len(self._rows):
            self._resize(max(stop, start + start // 2, self._expected), rows.shape[1])
        self._rows[start:stop] = rows if len(places) == len(ids) else rows[places]
        self.ids += [ids[i] for i in places]
        self._slots.update(zip(self.ids[start:], range(start, stop), strict=True))

    def expect(self, n: int) -> None:
        """Make room for `n` more rows at once when the next ones come."""
        self._expected = len(self.ids) + n

    def remove(self, ids: Sequence[str]) -> None:
        """Forget these ids; unknown ones are ignored."""
        for problem_id in ids:
            slot = self._slots.pop(problem_id, None)
            if slot is None:
                continue
            last = self.ids.pop()
            if last != problem_id:
                self._rows[slot] = self._rows[len(self.ids)]
                self.ids[slot], self._slots[last] = last, slot
        if len(self.ids) < len(self._rows) // 4:
            self._resize(len(self.ids), self._rows.shape[1])

    def check(self, rows: NDArray[np.float32]) -> None:
        """Refuse rows of another length than those that were ever here."""
        dim = self._rows.shape[1]
        if dim and rows.shape[1] != dim:
            raise EmbedderMismatchError(
                f"the index holds vectors of {dim} numbers and the embedder now returns "
                f"{rows.shape[1]}; use one embedder, or a new index"
            )

    def _resize(self, capacity: int, dim: int) -> None:
        rows = np.empty((capacity, dim), dtype=np.float32)
        if self.ids:
            rows[: len(self.ids)] = self.matrix
        self._rows = rows


class EmbeddedProblems:
    """The vectors of the indexed problems, kept up to date; safe to share between threads.

    Hold `lock` to read `vectors`. The embedder runs outside of it: who searches does not wait for
    who adds.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.fingerprint = f"cosine:{embedder.fingerprint}"
        self.lock = threading.RLock()
        self.vectors = Vectors()
        self._embedder = embedder
        self._writing = threading.Lock()

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """See `Retriever.update`. When the embedder fails, what it had embedded before stays."""
        with self._writing:
            with self.lock:
                self.vectors.remove(removed)
                new = [problem for problem in added if problem.id not in self.vectors]
                self.vectors.expect(len(new))
            for start in range(0, len(new), _EMBEDDED_AT_ONCE):
                part = new[start : start + _EMBEDDED_AT_ONCE]
                rows = self.embed(part)
                with self.lock:
                    self.vectors.add([problem.id for problem in part], rows)

    def embed(self, problems: Sequence[Problem]) -> NDArray[np.float32]:
        """Return unit rows, shape (n, d), in one call of the embedder.

        Raises:
            InvalidInputError: the embedder broke its contract.
            EmbedderMismatchError: the rows are not as long as the indexed ones.
        """
        if not problems:
            return np.zeros((0, self.vectors.matrix.shape[1]), dtype=np.float32)
        rows = np.asarray(self._embedder.embed([p.text for p in problems]), dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(problems):
            raise InvalidInputError(
                f"the embedder {self._embedder.fingerprint!r} returned shape {rows.shape} for "
                f"{len(problems)} texts; it has to return one row for each"
            )
        squares = np.einsum("nd,nd->n", rows, rows)
        if not (np.abs(squares - 1.0) < 1e-2).all():  # false for NaN, too
            raise InvalidInputError(
                f"the embedder {self._embedder.fingerprint!r} returned rows that are not finite or "
                "not of length one; have it normalise its rows"
            )
        self.vectors.check(rows)
        return rows


def check_k(k: int) -> None:
    """Refuse a `k` that asks for nothing."""
    if k < 1:
        raise InvalidInputError(f"k must be at least 1, got {k}")


def cosines(rows: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the dot product of each row with the query, shape (n,).

    Summed in double precision: in single precision the last digits depend on where a row lies in
    the matrix and on how many queries are asked, and so would the order of equals.
    """
    products: NDArray[np.float64] = rows.astype(np.float64) @ query.astype(np.float64)
    return products.astype(np.float32)


def hash64(query_id: str, problem_id: str) -> int:
    """Return the place of a pair among equals."""
    pair = f"{query_id}\0{problem_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(pair, digest_size=8).digest(), "big")


def best(ids: Sequence[str], scores: NDArray[np.float32], k: int, query_id: str) -> list[int]:
    """Return the places of the `k` best scores, best first.

    Equals are ordered by a hash of query and problem: the same way always, and over many queries
    none of them is favoured.
    """
    found: list[int] = list(range(len(scores)))
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        found = np.flatnonzero(scores >= threshold).tolist()
    places = sorted(zip((-scores[found]).tolist(), found, strict=True))
    equal = {score for (score, _), (after, _) in pairwise(places) if score == after}
    keyed = [(s, hash64(query_id, ids[i]) if s in equal else 0, i) for s, i in places]
    return [place for _, _, place in sorted(keyed)[:k]]


def nearest(
    ids: Sequence[str],
    rows: NDArray[np.float32],
    scores: NDArray[np.float32],
    k: int,
    query: NDArray[np.float32],
    query_id: str,
) -> tuple[list[str], NDArray[np.float32]]:
    """Return ids and cosines of the `k` of these rows that are closest to the query, best first.

    `scores` are the products in single precision: they only say which rows to compute exactly.
    """
    places = np.arange(len(scores))
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= threshold - np.float32(_MARGIN))
    near = [ids[place] for place in places.tolist()]
    exact = cosines(rows[places], query)
    order = best(near, exact, k, query_id)
    return [near[place] for place in order], exact[order]


def as_hits(ids: Sequence[str], cosines: NDArray[np.float32]) -> list[Hit]:
    """Return hits whose score is the cosine and whose similarity is 0 where that is negative."""
    return [
        Hit(problem_id=problem_id, score=cosine, similarity=min(1.0, max(0.0, cosine)))
        for problem_id, cosine in zip(ids, cosines.tolist(), strict=True)
    ]
