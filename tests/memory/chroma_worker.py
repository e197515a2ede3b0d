"""A process that uses a pool in Chroma, and says what it has done, line by line.

python -m tests.memory.chroma_worker write ADDRESS    writes batches of four until it is killed
python -m tests.memory.chroma_worker read ADDRESS     answers each line of its input: a digest
python -m tests.memory.chroma_worker open ADDRESS     tries to open it, says what it is told
"""

from __future__ import annotations

import sys

from lanpo_memory.errors import PoolError
from lanpo_memory.pool import open_pool
from lanpo_memory.types import Experience, ExperienceMetadata, Limits, Problem

BATCH = 4


def batch(step: int) -> list[Experience]:
    """The experiences of a step; a batch of them is whole or not there."""
    return [
        Experience(
            problem=Problem(text=f"problem {number}"),
            thoughts=f"step {step}",
            metadata=ExperienceMetadata(step=step),
        )
        for number in range(BATCH)
    ]


def write(url: str) -> None:
    with open_pool(url, limits=Limits(capacity=None)) as pool:
        for step in range(len(pool) // BATCH, 100_000):
            assert {r.status for r in pool.add(batch(step))} == {"added"}
            say(step)


def read(url: str) -> None:
    with open_pool(url, create=False) as pool:
        say("open")
        for _ in sys.stdin:
            say(pool.digest(), len(pool), pool.store.changes(0, limit=0).head)


def try_open(url: str) -> None:
    try:
        open_pool(url).close()
    except PoolError as error:
        say(type(error).__name__, error)
    else:
        say("opened")


def say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    {"write": write, "read": read, "open": try_open}[sys.argv[1]](sys.argv[2])
