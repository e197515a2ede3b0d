"""Taking a saved pool into one that is there."""

from __future__ import annotations

from lanpo_memory.comparison import KINDS
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Batch, Limits, Receipt

__all__ = ["merge", "replace"]

_NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)


def merge(pool: ExperiencePool, batch: Batch) -> list[Receipt]:
    """Write saved records into a pool, in one transaction; one receipt each, in their order.

    An empty pool takes all of them, as they are: afterwards its digest is that of the saved one.
    One that holds anything keeps what it has, and the rest comes in within its limits.

    >>> from lanpo_memory import Experience, Problem
    >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), thoughts="Pair the ends.")
    >>> pool, saved = ExperiencePool(), Batch(experiences=(lesson,))
    >>> [merge(pool, saved)[0].status for _ in range(2)]
    ['added', 'duplicate']
    """
    if any(pool.store.count(kind) for kind in KINDS):
        return pool.write(batch)
    receipts = pool.store.write(batch, limits=_NO_LIMITS)
    pool.sync()
    return receipts


def replace(pool: ExperiencePool, batch: Batch) -> None:
    """Put saved records in the place of everything a pool holds, in one transaction.

    Raises:
        PromiseError: the pool's store does not promise to do so whole or not at all.
    """
    pool.store.write(batch._with(replace=True), limits=_NO_LIMITS)
    pool.sync()
