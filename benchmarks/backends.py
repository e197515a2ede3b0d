"""The same work on every kind of store, side by side in one run.

    python -m benchmarks.backends [URL ...] [--entries 10000 100000] [--out FILE]

Without addresses: memory, SQLite and Chroma in a temporary folder. Servers are yours to start,
empty: ``postgresql://...``, ``chroma+http://...``; each size has a namespace of its own there. Each
store and size has a process of its own. The pool searches by BM25, in memory, over all of them
alike: what differs is the store.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.machine import describe
from benchmarks.measure import summary, timed
from benchmarks.workers import environment

PER_PROBLEM = 32
QUERIES, SMALL, LARGE = 200, 256, 4_096
ROUNDS = 15
HEADINGS = {
    "store": "store",
    "entries": "entries",
    "fill_s": "fill, s",
    "open_s": "open, s",
    "add_256": "add 256, ms",
    "add_4096": "add 4,096, ms",
    "query": "query p50, ms",
    "query_p95": "p95, ms",
    "many": "512 in one call, ms",
    "rss_mb": "peak RSS, MB",
}


def measured(url: str, entries: int, texts: Path) -> dict[str, Any]:
    """Fill a pool and measure; to be called in a process of its own."""
    from lanpo_memory import Problem, open_pool
    from lanpo_memory.stores import open_store

    documents = corpus.read(texts, "documents", stop=-(-entries // PER_PROBLEM)).texts
    questions = [Problem(text=text) for text in corpus.read(texts, "queries").texts]
    problems = [Problem(text=text) for text in documents]
    space = {} if url == "memory:" else {"namespace": f"{entries} entries"}
    pool = open_pool(url, **space)
    fill = _batches(problems, 0, PER_PROBLEM, LARGE)
    fill_ms = sum(timed(pool.add, batch) for batch in fill)
    if url != "memory:":  # it is gone when it is closed
        pool.close()
    started = time.perf_counter()
    if url != "memory:":
        pool = open_pool(url, **space)
    open_s = time.perf_counter() - started
    held = len(pool)
    more = _batches(problems, PER_PROBLEM, 2 * PER_PROBLEM + SMALL * ROUNDS, SMALL)
    small = [timed(pool.add, next(more)) for _ in range(ROUNDS)]
    pile = _batches(problems, 10_000, 10_000 + LARGE * 4, LARGE)
    large = [timed(pool.add, next(pile)) for _ in range(3)]
    pool.retrieve(questions[:1])
    asked = [timed(pool.retrieve, [problem]) for problem in questions[:QUERIES]]
    many = [timed(pool.retrieve, (questions * 3)[:512]) for _ in range(3)]
    assert len(pool) == held, "every problem is at capacity: what comes in pushes out"
    pool.close()
    if url != "memory:":
        open_store(url, create=False, **space).close()
    return {
        "entries": held,
        "fill_s": fill_ms / 1000,
        "open_s": open_s if url != "memory:" else None,
        "add_256": summary(small)["p50"],
        "add_4096": summary(large)["p50"],
        "query": summary(asked)["p50"],
        "query_p95": summary(asked)["p95"],
        "many": summary(many)["p50"],
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def _batches(problems: Sequence[Any], first: int, last: int, size: int) -> Iterator[list[Any]]:
    """Lessons `first` to `last` of every problem, in batches that go around the problems."""
    from lanpo_memory import Experience, ExperienceMetadata

    batch: list[Any] = []
    for number in range(first, last):
        for index, problem in enumerate(problems):
            thoughts, principles, pitfalls = corpus.lesson(f"{index}-{number}")
            metadata = ExperienceMetadata(step=number, reward=1.0, correct=True, source="made up")
            batch.append(
                Experience(
                    problem=problem,
                    thoughts=thoughts,
                    principles=principles,
                    pitfalls=pitfalls,
                    metadata=metadata,
                )
            )
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def _in_a_process(url: str, entries: int, texts: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.backends", "--child", str(texts)]
    done = subprocess.run(
        [*command, "--entries", str(entries), "--", url],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{url} with {entries:,} entries: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _kind(url: str) -> str:
    return {"chroma": "Chroma, folder", "chroma+http": "Chroma, server"}.get(
        scheme := url.partition(":")[0],
        {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(scheme, scheme),
    )


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| " + " | ".join(HEADINGS.values()) + " |",
        "| :-- |" + " --: |" * (len(HEADINGS) - 1),
        *("| " + " | ".join(_figure(row[name]) for name in HEADINGS) + " |" for row in rows),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure every address at every size, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends", description=__doc__)
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, help="also write the table there")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.urls[0], given.entries[0], given.child)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = -(-max(given.entries) // PER_PROBLEM)
        corpus.write(folder / "texts", documents=problems, queries=QUERIES, extra=16)
        here = [f"sqlite:///{folder}/pool.db", f"chroma:///{folder}/chroma"]
        (folder / "chroma").mkdir()
        urls = given.urls or ["memory:", *here]
        machine = describe(folder)
        rows = []
        for entries in given.entries:
            for url in urls:
                row = {"store": _kind(url), **_in_a_process(url, entries, folder / "texts")}
                print(row, file=sys.stderr, flush=True)
                rows.append(row)
    text = f"{machine['cores']} cores of {machine['cpu']}, {machine['date']}\n\n{_table(rows)}\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
