"""Going back to an earlier state of a pool: which pool it was, and what came after it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.snapshots import digest_of, header, read_snapshot, write_snapshot
from lanpo_memory.types import Promise

__all__ = ["check_mark", "mark", "new_mark", "set_aside"]

_KINDS = ("experience", "attempt", "exposure", "failure")


def mark(pool: ExperiencePool) -> str | None:
    """Return the name that a pool goes by, made up the first time it is asked for.

    It says nothing about the content and is no part of the digest. `None` where the store keeps
    nothing but records.
    """
    if Promise.CACHE not in pool.store.promises:
        return None
    key = f"pool-mark|{pool.store.namespace}"
    found = pool.store.cached([key])[0]
    if found is None:
        found = uuid.uuid4().hex.encode()
        pool.store.cache([(key, found)])
    return found.decode()


def new_mark(pool: ExperiencePool) -> None:
    """Give a pool another name: what was saved under the old one does not belong to it any more."""
    if Promise.CACHE in pool.store.promises:
        pool.store.cache([(f"pool-mark|{pool.store.namespace}", uuid.uuid4().hex.encode())])


def check_mark(pool: ExperiencePool, expected: str | None, *, place: Path) -> None:
    """Make sure that a pool is the one that was saved, or holds nothing that could be lost.

    Raises:
        ConfigError: it is another pool, with content of its own.
    """
    if expected is None or Promise.CACHE not in pool.store.promises:
        return
    if not any(pool.store.count(kind) for kind in _KINDS):
        pool.store.cache([(f"pool-mark|{pool.store.namespace}", expected.encode())])
    elif mark(pool) != expected:
        raise ConfigError(
            f"the pool is not the one saved in {place}, or another run has begun in it since, and "
            "going on would replace what it holds; name the pool of that run, or a new one, which "
            "is filled from the checkpoint"
        )


def set_aside(pool: ExperiencePool, snapshot: Path, target: Path) -> int:
    """Write what a pool holds beyond a snapshot to a file; return how many records that is.

    The file is a snapshot itself: `ExperiencePool.restore` reads it. Without such records none is
    written.

    Raises:
        PoolFormatError: `snapshot` is none.
        PoolWriteError: the disk refused.

    >>> import tempfile
    >>> from lanpo_memory.types import Experience, Problem
    >>> pool, folder = ExperiencePool(), Path(tempfile.mkdtemp())
    >>> saved = pool.snapshot(folder / "saved.jsonl")
    >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), principles=("Pair the ends.",))
    >>> receipts = pool.add([lesson])
    >>> set_aside(pool, saved, folder / "later.jsonl")
    1
    """
    before = read_snapshot(snapshot)
    saved: tuple[tuple[Any, ...], ...] = (
        before.experiences,
        before.attempts,
        before.exposures,
        before.failures,
    )
    known = {
        kind: {record.id for record in records} for kind, records in zip(_KINDS, saved, strict=True)
    }
    with pool.store.view():
        later: dict[str, list[Any]] = {
            kind: [r for r in pool.store.scan(kind) if r.id not in known[kind]]  # type: ignore[arg-type]
            for kind in _KINDS
        }
    count = sum(map(len, later.values()))
    if count:
        write_snapshot(target, _records(later))
    return count


def _records(later: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    digest = digest_of(later["experience"], later["attempt"], later["exposure"])
    yield header(digest=digest, experiences=len(later["experience"]))
    for kind, records in later.items():
        for record in records:
            yield {"kind": kind, **record.model_dump(mode="json")}
