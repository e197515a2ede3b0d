"""Which embedder a pool belongs to, and how it changes to another one."""

from __future__ import annotations

from collections.abc import Callable

from lanpo_memory.errors import EmbedderMismatchError, InvalidInputError
from lanpo_memory.protocols import Embedder, ExperienceStore

__all__ = ["claim", "recorded_embedder", "reindex"]


def recorded_embedder(store: ExperienceStore) -> str | None:
    """Return the fingerprint of the embedder a pool was opened with first, if it ever was."""
    value = store.cached([_key(store)])[0]
    return None if value is None else value.decode()


def claim(store: ExperienceStore, fingerprint: str) -> None:
    """Bind a pool to an embedder; a pool that is bound to another one refuses.

    Raises:
        EmbedderMismatchError: it belongs to another embedder.
    """
    recorded = recorded_embedder(store)
    if recorded is None:
        store.cache([(_key(store), fingerprint.encode())])
    elif recorded != fingerprint:
        raise EmbedderMismatchError(
            f"this pool belongs to the embedder {recorded!r}, not to {fingerprint!r}. Open it with "
            "that one, or move it to yours: `lanpo pool reindex`, in Python "
            "lanpo_memory.reindex.reindex(store, embedder)"
        )


def reindex(
    store: ExperienceStore,
    embedder: Embedder,
    *,
    chunk: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Embed every problem of a pool with another embedder, then bind the pool to it.

    Each chunk is durable: after an interruption the next call embeds only what is missing. Until
    the last chunk is there the pool belongs to its old embedder and works with it. Vectors of the
    old one are kept, so that the way back is free.

    Args:
        store: the pool's store.
        embedder: the new one.
        chunk: texts that are embedded and stored at once.
        progress: called with (done, all) after every chunk.

    Returns:
        how many texts had to be embedded.

    Raises:
        InvalidInputError: `chunk` is below 1.

    >>> from lanpo_memory import Experience, ExperiencePool, Problem
    >>> from lanpo_memory.testing import HashingEmbedder
    >>> pool = ExperiencePool(embedder=HashingEmbedder(dim=32))
    >>> receipts = pool.add([Experience(problem=Problem(text="red apples"), thoughts="Count.")])
    >>> reindex(pool.store, HashingEmbedder(dim=64))
    1
    """
    if chunk < 1:
        raise InvalidInputError(f"chunk must be at least 1, got {chunk}")
    from lanpo_memory.embedders import CachedEmbedder

    cached = CachedEmbedder(embedder, store, memory=0)
    texts = list(dict.fromkeys(problem.text for problem in store.read("problem")))
    for start in range(0, len(texts), chunk):
        cached.embed(texts[start : start + chunk])
        if progress is not None:
            progress(min(start + chunk, len(texts)), len(texts))
    store.cache([(_key(store), embedder.fingerprint.encode())])
    return cached.embedded


def _key(store: ExperienceStore) -> str:
    return f"embedder:{store.namespace}"
