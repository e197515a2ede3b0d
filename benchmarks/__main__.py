"""How long a pool takes to add to, to search and to open: `make bench`."""

from __future__ import annotations

import argparse
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lanpo_memory import Experience, ExperienceMetadata, Problem, open_pool

WORDS = [f"word{i}" for i in range(5_000)]


def problems(n: int, rng: random.Random) -> list[Problem]:
    """Texts of 40 words with the frequencies of a language (rank to the power of -1)."""
    weights = [1 / (i + 1) for i in range(len(WORDS))]
    return [
        Problem(text=f"{i} {' '.join(rng.choices(WORDS, weights, k=40))}", id=f"p{i}")
        for i in range(n)
    ]


def lessons(chosen: list[Problem], step: int) -> list[Experience]:
    return [
        Experience(
            problem=problem,
            thoughts="I looked for the quantity that stays the same. " * 4,
            principles=(f"Principle {step} of {problem.id}.", "Name the unknown first."),
            pitfalls=("Mixing the units.",),
            metadata=ExperienceMetadata(step=step, reward=1.0),
        )
        for problem in chosen
    ]


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measure(n: int, per_problem: int, repeats: int) -> None:
    rng = random.Random(0)
    known = problems(n, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.db"
        with open_pool(path) as pool:
            started = time.perf_counter()
            for step in range(per_problem):
                for start in range(0, n, 1_000):
                    pool.add(lessons(known[start : start + 1_000], step))
            filled = time.perf_counter() - started
            adds = [
                timed(lambda s=s: pool.add(lessons(rng.sample(known, min(n, 256)), s)))  # type: ignore[misc]
                for s in range(per_problem, per_problem + repeats)
            ]
            queries = rng.sample(known, min(n, 50))
            searches = [timed(lambda q=q: pool.retrieve([q], k=8)) for q in queries]  # type: ignore[misc]
            entries = len(pool)
        opens = timed(lambda: open_pool(path).close())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{entries:>9,} {n:>8,} {filled:>8.1f} {statistics.median(adds):>12.1f} "
        f"{statistics.median(searches):>11.2f} {max(searches):>11.2f} {opens:>9.0f} {memory:>7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--per-problem", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=8)
    given = parser.parse_args()
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")
    print(
        f"{'entries':>9} {'problems':>8} {'fill s':>8} {'add 256 ms':>12} "
        f"{'query p50':>11} {'query max':>11} {'open ms':>9} {'RSS MB':>7}"
    )
    for n in given.sizes:
        measure(n, given.per_problem, given.repeats)


if __name__ == "__main__":
    main()
