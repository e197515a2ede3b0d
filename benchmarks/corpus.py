"""The texts and vectors every benchmark shares: made up, and the same on every machine.

A document has 80 words with the frequencies of a language (rank to the power of -1 over 20,000
words); a quarter of them are its topic's own, and two are numbers. Sixteen documents share a topic.
A query is 39 words of one document, in their order. The vectors stand in for embeddings: unit rows
of 384, documents of a topic at a cosine of about 0.75, a query at 0.95 to its document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 20_000
WORDS, TOPIC_WORDS, NUMBERS, QUERY_WORDS = 80, 20, 2, 39
TOPIC_SIZE, TOPIC_VOCABULARY = 16, 24
DIM = 384
WITHIN_TOPIC, QUERY_TO_DOCUMENT = 0.75, 0.95
CHUNK = 10_000

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Split:
    """Texts and their vectors, row by row."""

    texts: list[str]
    vectors: Rows


class PrecomputedEmbedder:
    """Looks vectors up by text, so that a measurement holds no model's time.

    A text it was not given raises `KeyError`: nothing is embedded that should have been cached.
    """

    fingerprint = f"precomputed-clusters-v1:dim={DIM}:unit"

    def __init__(self, *splits: Split) -> None:
        self._vectors = np.concatenate([split.vectors for split in splits])
        texts = [text for split in splits for text in split.texts]
        self._row = {text: row for row, text in enumerate(texts)}

    def embed(self, texts: Sequence[str]) -> Rows:
        """Return unit rows, shape (n, 384)."""
        return self._vectors[[self._row[text] for text in texts]]


def write(folder: Path, *, documents: int, queries: int, extra: int, seed: int = 0) -> None:
    """Write the splits "documents", "queries" and "extra" (more documents, of the same topics)."""
    rng = np.random.default_rng([seed, documents, queries, extra])
    token_ids = np.concatenate(list(_token_ids(documents + extra, rng)))
    vectors = np.concatenate(list(_document_vectors(documents + extra, rng)))
    words = _words()
    texts = [_text(row, words) for row in token_ids]
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, "documents", texts[:documents], vectors[:documents])
    _save(folder, "extra", texts[documents:], vectors[documents:])
    sources = rng.integers(0, documents, size=queries)
    asked = [_text(_excerpt(token_ids[i], rng), words) for i in sources]
    _save(folder, "queries", asked, _near(vectors[sources], QUERY_TO_DOCUMENT, rng))


def read(folder: Path, name: str, start: int = 0, stop: int | None = None) -> Split:
    """Read rows `start` to `stop` of a split; only they stay in memory."""
    with (folder / f"{name}.txt").open(encoding="utf-8") as file:
        texts = [
            line.rstrip("\n")
            for i, line in enumerate(file)
            if i >= start and (stop is None or i < stop)
        ]
    stored = np.load(folder / f"{name}.npy", mmap_mode="r")
    return Split(texts, np.array(stored[start:stop]))


def lesson(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Thoughts, principles and pitfalls of about 90 words that nothing else shares."""
    thoughts = (
        f"Looking at case {name}, I first asked which quantities are given and which one is wanted."
        " Then I looked for a quantity that stays the same on both sides, wrote it once as a"
        " product and once as a sum, and compared the two before putting any number in."
    )
    principles = (
        f"In case {name}, find the rate for one unit before scaling it up.",
        "Name the unknown first, and write down its unit.",
    )
    pitfalls = (f"In case {name}, adding amounts that have different units.",)
    return thoughts, principles, pitfalls


def flat_lesson(name: str) -> str:
    """The same in one text, for systems that know no parts."""
    thoughts, principles, pitfalls = lesson(name)
    return "\n".join([thoughts, *principles, *pitfalls])


def _save(folder: Path, name: str, texts: Sequence[str], vectors: Rows) -> None:
    (folder / f"{name}.txt").write_text("".join(f"{t}\n" for t in texts), encoding="utf-8")
    np.save(folder / f"{name}.npy", vectors)


def _words() -> list[str]:
    """Spellings by rank, the numbers after them: frequent words are short, as in a language."""
    syllables = [c + v for c in "bdfghjklmnprstvwxyzq" for v in "aeiou"]
    base = len(syllables)

    def spelled(rank: int) -> str:
        head, last = divmod(rank, base)
        return (spelled(head - 1) if head else "") + syllables[last]

    return [spelled(rank) for rank in range(VOCABULARY)] + [str(n) for n in range(1_000)]


def _text(token_ids: NDArray[np.int64], words: Sequence[str]) -> str:
    return " ".join([words[i] for i in token_ids])


def _token_ids(n: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    frequencies = 1 / np.arange(1, VOCABULARY + 1)
    cumulated = np.cumsum(frequencies / frequencies.sum())
    topics = rng.integers(200, VOCABULARY, size=(-(-n // TOPIC_SIZE), TOPIC_VOCABULARY))
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        drawn = np.searchsorted(cumulated, rng.random((size, WORDS)))
        ids = np.minimum(drawn, VOCABULARY - 1)
        topic = topics[np.arange(start, start + size) // TOPIC_SIZE]
        picked = rng.integers(0, TOPIC_VOCABULARY, size=(size, TOPIC_WORDS))
        ids[:, :TOPIC_WORDS] = np.take_along_axis(topic, picked, axis=1)
        ids[:, -NUMBERS:] = VOCABULARY + rng.integers(2, 1_000, size=(size, NUMBERS))
        yield rng.permuted(ids, axis=1)


def _excerpt(token_ids: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return token_ids[np.sort(rng.choice(WORDS, size=QUERY_WORDS, replace=False))]


def _document_vectors(n: int, rng: np.random.Generator) -> Iterator[Rows]:
    centres = _unit(rng.standard_normal((-(-n // TOPIC_SIZE), DIM), dtype=np.float32))
    for start in range(0, n, CHUNK):
        own = centres[np.arange(start, min(n, start + CHUNK)) // TOPIC_SIZE]
        yield _near(own, WITHIN_TOPIC**0.5, rng)


def _near(rows: Rows, cosine: float, rng: np.random.Generator) -> Rows:
    """Unit rows at about this cosine to the given ones."""
    noise = _unit(rng.standard_normal(rows.shape, dtype=np.float32))
    return _unit(np.float32(cosine) * rows + np.float32((1 - cosine**2) ** 0.5) * noise)


def _unit(rows: Rows) -> Rows:
    lengths: Rows = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    return rows / lengths
