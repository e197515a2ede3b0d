"""Moving a pool from one store to another, in pieces that survive an interruption."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lanpo_memory.calibration import load_calibration, store_calibration
from lanpo_memory.comparison import KINDS
from lanpo_memory.errors import InvalidInputError, PoolError
from lanpo_memory.protocols import ExperienceStore, Retriever
from lanpo_memory.reindex import claim, recorded_embedder
from lanpo_memory.snapshots import digest_of_store
from lanpo_memory.types import Batch, Limits, Promise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Copied", "copy_pool"]

_NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)
_FIELDS = {kind: f"{kind}s" for kind in KINDS}


@dataclass(frozen=True)
class Copied:
    """What a copy came to: records written now, records that were there already, the digest.

    `vectors` are rows of the pool's embedder that came along.
    """

    written: int
    there: int
    vectors: int
    digest: str


def copy_pool(
    source: ExperienceStore,
    target: ExperienceStore,
    *,
    chunk: int = 1_000,
    restart: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Copied:
    """Copy every record from one store to another; afterwards their digests are equal.

    Each chunk is durable: after an interruption the next call goes on behind it. Limits are those
    of the source: nothing is evicted. What an embedder computed for the problems comes along, and
    the calibration of the default retriever; other cached values do not.

    Args:
        source: is read as of one moment.
        target: has to be empty, or hold the first records of the source: of a copy that was
            interrupted, or of one that the source has outgrown.
        chunk: records a transaction.
        restart: empty the target first.
        progress: called with (done, all) after every chunk.

    Raises:
        InvalidInputError: the target holds something else or is the source itself, or the source
            has lost some of what was copied.
        EmbedderMismatchError: the target belongs to another embedder; nothing was copied.
        PoolError: somebody else wrote to the target meanwhile.

    >>> from lanpo_memory import Experience, Problem
    >>> from lanpo_memory.stores import MemoryStore
    >>> one, two = MemoryStore(), MemoryStore()
    >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), thoughts="Pair the ends.")
    >>> receipts = one.write(Batch(experiences=(lesson,)), limits=Limits())
    >>> copy_pool(one, two).written, two.count("experience")
    (1, 1)
    """
    if chunk < 1:
        raise InvalidInputError(f"chunk must be at least 1, got {chunk}")
    for store in (source, target):
        if not isinstance(store, ExperienceStore):
            raise InvalidInputError(
                f"a copy is from store to store, got a {type(store).__name__}: "
                "open_store(address), or the pool's .store"
            )
    _keep_apart(source, target)
    with source.view():
        digest = digest_of_store(source)
        total = sum(source.count(kind) for kind in KINDS)
        there = _begin(source, target, restart)
        embedder = _embedder(source, target)
        written = 0
        for records in _missing(source, target, chunk):
            target.write(Batch(**records), limits=_NO_LIMITS)
            written += sum(map(len, records.values()))
            if progress is not None:
                progress(there + written, total)
        vectors = 0 if embedder is None else _vectors(source, target, embedder)
    if digest_of_store(target) != digest:
        raise PoolError(
            "the copy differs from its source: somebody else wrote to the target meanwhile. Copy "
            "into a namespace that nobody uses, or restart the copy"
        )
    return Copied(written=written, there=there, vectors=vectors, digest=digest)


def _keep_apart(source: ExperienceStore, target: ExperienceStore) -> None:
    """Refuse to copy a pool onto itself, which a restart would empty, whatever its address."""
    same = source is target
    if source.namespace == target.namespace and Promise.CACHE in source.promises & target.promises:
        mark = uuid.uuid4().bytes
        target.cache([("copy", mark)])
        same = source.cached(["copy"]) == [mark]
    if same:
        raise InvalidInputError("source and target are the same pool; name another target")


def _begin(source: ExperienceStore, target: ExperienceStore, restart: bool) -> int:
    """Make the target ready; return how many of the source's records it holds already."""
    if restart:
        target.write(Batch(replace=True), limits=_NO_LIMITS)
    held = sum(target.count(kind) for kind in KINDS)
    if held and not _is_beginning(target, source):
        raise InvalidInputError(
            f"the target holds {held:,} records that are not the first of the source: it is "
            "another pool, or the source has evicted or deleted some since. Restart the copy "
            "(restart=True, --restart), which empties the target first, or copy into another "
            "namespace (--to-namespace)"
        )
    return held


def _is_beginning(part: ExperienceStore, whole: ExperienceStore) -> bool:
    """Whether the first records of `whole` are those of `part`."""
    return all(
        part.count(kind) <= whole.count(kind)
        and all(
            one.id == two.id for one, two in zip(part.scan(kind), whole.scan(kind), strict=False)
        )
        for kind in KINDS
    )


def _missing(
    source: ExperienceStore, target: ExperienceStore, chunk: int
) -> Iterator[dict[str, tuple[Any, ...]]]:
    """What the target lacks: it holds the first so many of each kind, in the same order."""
    for kind in KINDS:
        rest = islice(source.scan(kind), target.count(kind), None)
        while records := tuple(islice(rest, chunk)):
            yield {_FIELDS[kind]: records}


def _embedder(source: ExperienceStore, target: ExperienceStore) -> str | None:
    """The embedder that the source belongs to, and from now on the target; `None` without one."""
    if Promise.CACHE not in source.promises & target.promises:
        return None
    _calibration(source, target, _bm25())
    fingerprint = recorded_embedder(source)
    if fingerprint is not None:
        claim(target, fingerprint)
    return fingerprint


def _vectors(source: ExperienceStore, target: ExperienceStore, fingerprint: str) -> int:
    """Bring along what the source's embedder computed for its problems."""
    from lanpo_memory.embedders import CachedEmbedder
    from lanpo_memory.retrievers import BM25Retriever, CosineRetriever

    given = _Given(fingerprint)
    read = CachedEmbedder(given, source, memory=0)
    write = CachedEmbedder(given, target, memory=0)
    texts = list(dict.fromkeys(problem.text for problem in source.read("problem")))
    moved = 0
    for start in range(0, len(texts), 512):
        part = texts[start : start + 512]
        stored = [t for t, has in zip(part, read.has(part), strict=True) if has]
        given.rows = dict(zip(stored, read.embed(stored), strict=True))
        write.embed(stored)
        moved += len(stored)
    _calibration(source, target, CosineRetriever(BM25Retriever(), given))
    return moved


def _bm25() -> Retriever:
    from lanpo_memory.retrievers import BM25Retriever

    return BM25Retriever()


def _calibration(source: ExperienceStore, target: ExperienceStore, retriever: Retriever) -> None:
    known = load_calibration(source, retriever.fingerprint)
    if known is not None:
        store_calibration(target, known)


class _Given:
    """An embedder that knows the rows it was handed, and no others."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.rows: dict[str, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        return np.stack([self.rows[text] for text in texts])
