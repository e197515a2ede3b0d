"""A pool of N experiences: fill, ask, guide, add, open, memory and disk, against N."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.measure import exponent, summary
from benchmarks.settings import Settings
from benchmarks.workers import Worker

PER_PROBLEM = 32
ADD_PROBLEMS, ADD_GROUP = 512, 8
ADDED = ADD_PROBLEMS * ADD_GROUP


class Fresh:
    """Hands out queries that were not asked before: no cache of queries may help."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, n: int) -> dict[str, int]:
        start, self.used = self.used, self.used + n
        return {"start": start, "stop": self.used}


def run(settings: Settings) -> dict[str, Any]:
    """Measure every size; see `measure` for a row."""
    rows = [measure(size, settings) for size in settings.pool_sizes]
    return {"rows": rows, "exponents": exponents(rows)}


def measure(entries: int, settings: Settings) -> dict[str, Any]:
    """One size, in a folder that is removed afterwards."""
    folder = settings.work / f"pool-{entries}"
    shutil.rmtree(folder, ignore_errors=True)
    problems = -(-entries // PER_PROBLEM)
    try:
        corpus.write(folder / "texts", documents=problems, queries=_needed(settings), extra=0)
        return _measure(problems * PER_PROBLEM, folder, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _needed(s: Settings) -> int:
    singles = 2 * (s.warm_up + s.queries) + s.served + s.opens + s.adds
    return singles + 2 * s.batches * s.batch


def _measure(entries: int, folder: Path, s: Settings) -> dict[str, Any]:
    options = {"folder": str(folder / "pool"), "texts": str(folder / "texts")}
    with Worker("lanpo", queries=0, **options) as worker:
        row: dict[str, Any] = dict(worker.ask("fill", entries=entries))
    _say(f"{entries:,} experiences: filled in {row['seconds']:.0f} s")
    fresh = Fresh()
    served = fresh.take(s.served)
    row["serving_mb"] = _serve(options, served)
    row["open_ms"], row["open_and_query_ms"] = _opens(options, fresh, s)
    with (
        Worker("lanpo", **options) as ours,
        Worker("lanpo", cosine=False, **options) as lexical,
    ):
        ours.ask("open")
        lexical.ask("open")
        row |= _singles(ours, lexical, fresh, s)
        row |= _batches(ours, lexical, fresh, s)
        lexical.finish()
        row |= _adds(ours, row["problems"], fresh, s)
    _say(f"{entries:,} experiences: one query {row['query_ms']['p50']:.2f} ms")
    return row


def _serve(options: dict[str, str], served: dict[str, int]) -> dict[str, float]:
    with Worker("lanpo", queries=served["stop"], **options) as worker:
        worker.ask("open")
        worker.ask("query", **served)
        memory: dict[str, float] = worker.ask("memory_mb")
        return memory


def _opens(options: dict[str, str], fresh: Fresh, s: Settings) -> tuple[Any, Any]:
    """Fresh processes that open the pool and answer once; the file is in the page cache."""
    opened, answered = [], []
    for _ in range(s.opens):
        one = fresh.take(1)
        with Worker("lanpo", queries=one["stop"], **options) as worker:
            opened.append(worker.ask("open")["ms"])
            answered.append(opened[-1] + worker.ask("query", **one)["ms"][0])
    return summary(opened), summary(answered)


def _singles(ours: Worker, lexical: Worker, fresh: Fresh, s: Settings) -> dict[str, Any]:
    """One problem a call; the three kinds take turns, block by block."""
    for worker, question in ((ours, "query"), (ours, "guide")):
        worker.ask(question, **fresh.take(s.warm_up))
    lexical.ask("query", start=0, stop=s.warm_up)
    ms: dict[str, list[float]] = {"query": [], "lexical": [], "guide": [], "again": []}
    found: dict[str, list[int]] = {name: [] for name in ms}
    for _ in range(0, s.queries, s.block):
        asked = fresh.take(s.block)
        turns = (
            ("query", ours, "query", asked),
            ("lexical", lexical, "query", asked),
            ("guide", ours, "guide", fresh.take(s.block)),
            ("again", ours, "query", asked),
        )
        for name, worker, question, which in turns:
            answer = worker.ask(question, **which)
            ms[name] += answer["ms"]
            found[name] += answer["found"]
    return {
        **{f"{name}_ms": summary(samples) for name, samples in ms.items()},
        "experiences_per_query": _mean(found["query"]),
        "experiences_per_lexical_query": _mean(found["lexical"]),
        "guided_share": _mean(found["guide"]),
    }


def _batches(ours: Worker, lexical: Worker, fresh: Fresh, s: Settings) -> dict[str, Any]:
    ms: dict[str, list[float]] = {"batch": [], "lexical_batch": [], "guide_batch": []}
    for _ in range(s.batches):
        asked = fresh.take(s.batch)
        ms["batch"] += ours.ask("query_batch", **asked)["ms"]
        ms["lexical_batch"] += lexical.ask("query_batch", **asked)["ms"]
        ms["guide_batch"] += ours.ask("guide_batch", **fresh.take(s.batch))["ms"]
    return {"batch": s.batch} | {f"{name}_ms": summary(samples) for name, samples in ms.items()}


def _adds(ours: Worker, problems: int, fresh: Fresh, s: Settings) -> dict[str, Any]:
    """New experiences of problems that are full: each one pushes an old one out.

    One query follows each, which meets what the writing left to be done.
    """
    chosen = min(ADD_PROBLEMS, problems)
    answers, after = [], []
    for _ in range(s.adds):
        answers.append(ours.ask("add_groups", problems=chosen, group=ADD_GROUP))
        after += ours.ask("query", **fresh.take(1))["ms"]
    return {
        "added": chosen * ADD_GROUP,
        "add_ms": summary(answer["ms"] for answer in answers),
        "query_after_add_ms": summary(after),
        "add_receipts": answers[-1]["receipts"],
        "add_grown": sum(answer["grown"] for answer in answers),
    }


CURVES = {
    "query_ms": "entries",
    "lexical_ms": "entries",
    "guide_ms": "entries",
    "batch_ms": "entries",
    "lexical_batch_ms": "entries",
    "guide_batch_ms": "entries",
    "add_ms": "entries",
    "open_ms": "entries",
}


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """How medians grow with N. Additions count where all 4,096 fitted into the pool's problems."""
    found = {}
    for name, size in CURVES.items():
        chosen = [r for r in rows if name != "add_ms" or r["added"] == ADDED]
        found[name] = exponent([r[size] for r in chosen], [r[name]["p50"] for r in chosen])
    for name in ("seconds", "disk_mb"):
        found[name] = exponent([r["entries"] for r in rows], [r[name] for r in rows])
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _say(text: str) -> None:
    print(f"pool: {text}", flush=True)
