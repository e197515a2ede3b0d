"""The process that the crash tests kill: it works, and tells of each step after the call returned.

``python crash_worker.py KIND FOLDER`` works on ``FOLDER/pool.db`` until it is killed. What batch
number `n` holds is a function of `n` alone, so whoever kills it knows what has to be in the file.
The one byte of ``FOLDER/phase`` outlives the process and says what it was doing when it died.
"""

from __future__ import annotations

import functools
import json
import mmap
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanpo_memory import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    ExperiencePool,
    Exposure,
    Limits,
    Problem,
    open_pool,
)
from lanpo_memory.reindex import reindex
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import FailedAnswer

IDLE, CALL, TRANSACTION, COMMIT, STARTING = range(5)
LIMITS = {
    "adds": Limits(),
    "evictions": Limits(capacity=4, per_step=None, attempts=2),
    "snapshots": Limits(),
    "reindex": Limits(),
    "creation": Limits(),
    "migration": Limits(),
}
CHUNK, DIM = 8, 128


class SlowEmbedder:
    """Hashed words, a little slower; counts the texts it was given."""

    def __init__(self, dim: int, pause_s: float = 0.0) -> None:
        self._inner, self._pause_s = HashingEmbedder(dim), pause_s
        self.fingerprint, self.dim = self._inner.fingerprint, dim
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self._pause_s)
        self.texts += len(texts)
        return self._inner.embed(texts)


# ---------------------------------------------------------------------- what batch n holds


def lesson(problem: Problem, text: str, step: int) -> Experience:
    metadata = ExperienceMetadata(step=step)
    return Experience(problem=problem, thoughts="t" * 300, principles=(text,), metadata=metadata)


def additions(n: int) -> Batch:
    """Nothing but new records, of every kind."""
    problems = [Problem(text=f"problem {i} of batch {n}: b{n}i{i}") for i in range(80)]
    return Batch(
        experiences=tuple(lesson(p, f"lesson {j}", n) for p in problems for j in range(2)),
        attempts=tuple(Attempt(problem=p, text="tried", step=n) for p in problems[:40]),
        exposures=tuple(
            Exposure(problem_id=p.id, lesson_ids=(f"lesson {n}",), step=n, guided=(1.0,))
            for p in problems[:40]
        ),
        failures=tuple(
            FailedAnswer(role="summarise", problem_id=p.id, text="?", reason="r", step=n)
            for p in problems[:10]
        ),
    )


def _gone(n: int) -> Experience:
    return lesson(Problem(text=f"problem that goes: g{n}"), "soon deleted", n)


def evictions(n: int) -> Batch:
    """One to six lessons on each of 40 full problems, and deletions."""
    problems = [Problem(text=f"problem {i}: crowded{i}") for i in range(40)]
    lessons = [
        lesson(p, f"lesson {n} {j}", n) for i, p in enumerate(problems) for j in range(1 + i % 6)
    ]
    return Batch(
        experiences=(*lessons, _gone(n)),
        attempts=tuple(Attempt(problem=p, text="tried", step=n) for p in problems[:10]),
        deletions=(_gone(n - 1).id, lessons[n % 20].id, "unknown") if n else (),
    )


def growth(n: int, size: int = 1200) -> Batch:
    """A first batch worth a snapshot of some length, then a few lessons each."""
    size = 5 if n else size
    problems = [Problem(text=f"problem {i} of batch {n}: b{n}i{i}") for i in range(size)]
    return Batch(
        experiences=tuple(lesson(p, "lesson", n) for p in problems),
        attempts=(Attempt(problem=problems[0], text="tried", step=n),),
        exposures=(Exposure(problem_id=problems[0].id, lesson_ids=("l",), step=n, guided=(1.0,)),),
    )


BATCHES: dict[str, Callable[[int], Batch]] = {
    "adds": additions,
    "evictions": evictions,
    "snapshots": growth,
    "reindex": functools.partial(growth, size=200),
}


# ---------------------------------------------------------------------- at work


def watch(folder: Path) -> mmap.mmap:
    """Return the byte that says what this process does; SQLite's transactions set it, too."""
    with (folder / "phase").open("r+b") as file:
        phase = mmap.mmap(file.fileno(), 1)

    def note(statement: str) -> None:
        word = statement[:8].upper()
        if word.startswith("BEGIN"):
            phase[0] = TRANSACTION
        elif word.startswith(("COMMIT", "END", "ROLLBACK")):
            phase[0] = COMMIT
        elif phase[0] == COMMIT:
            phase[0] = CALL

    class Traced(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(note)

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Traced)
    return phase


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def write_on(pool: ExperiencePool, kind: str, folder: Path, phase: mmap.mmap) -> None:
    for n in range(10_000):
        batch = BATCHES[kind](n)
        phase[0] = CALL
        receipts = pool.write(batch)
        if kind == "snapshots":
            phase[0] = CALL
            pool.snapshot(folder / "snapshots" / "pool.jsonl")
        phase[0] = IDLE
        tell(batch=n, statuses=Counter(r.status for r in receipts))


def reindex_on(folder: Path, phase: mmap.mmap) -> None:
    """Move one pool from embedder to embedder."""
    with open_pool(folder / "pool.db", embedder=SlowEmbedder(DIM)) as pool:
        pool.write(BATCHES["reindex"](0))
        for dim in range(DIM + 1, 10_000):
            phase[0] = CALL
            reindex(
                pool.store,
                SlowEmbedder(dim, pause_s=0.002),
                chunk=CHUNK,
                progress=lambda done, _: tell(done=done),
            )
            phase[0] = IDLE
            tell(dim=dim)


def main(kind: str, folder: Path) -> None:
    phase = watch(folder)
    if kind == "reindex":
        reindex_on(folder, phase)
    phase[0] = CALL
    with open_pool(folder / "pool.db", limits=LIMITS[kind]) as pool:
        phase[0] = IDLE
        if kind in BATCHES:
            write_on(pool, kind, folder, phase)
        time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
