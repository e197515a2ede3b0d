"""Our BM25 next to bm25s and rank_bm25: the same documents, queries, words and moment."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.measure import summary
from benchmarks.settings import Settings
from benchmarks.workers import Worker

NAMES = ("lanpo_bm25", "bm25s", "rank_bm25")
ADDED = 256
COMPARED = 100
"""How many of the best scores are compared with the reference, for each query."""

Workers = dict[str, Worker]


def run(settings: Settings) -> dict[str, Any]:
    """Measure every size; see `measure` for a row."""
    return {"rows": [measure(size, settings) for size in settings.bm25_sizes]}


def measure(documents: int, s: Settings) -> dict[str, Any]:
    """One number of documents."""
    folder = s.work / f"bm25-{documents}"
    shutil.rmtree(folder, ignore_errors=True)
    queries = max(2 * (s.warm_up + s.queries), s.score_queries)
    extra = ADDED * max(s.rebuilds, s.additions)
    try:
        corpus.write(folder, documents=documents, queries=queries, extra=extra)
        with contextlib.ExitStack() as stack:
            workers = {n: stack.enter_context(Worker(n, texts=str(folder))) for n in NAMES}
            return _measure(documents, workers, s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(documents: int, workers: Workers, s: Settings) -> dict[str, Any]:
    row: dict[str, Any] = {"documents": documents, "numba": workers["bm25s"].ask("numba")}
    row["build_ms"] = {name: worker.ask("build") for name, worker in workers.items()}
    row["memory_mb"] = {name: worker.ask("memory_mb")["now"] for name, worker in workers.items()}
    row["raw_ms"] = _queries(workers, s, raw=True)
    row["split_ms"] = _queries(workers, s, raw=False)
    row["scores"] = _scores(workers, s)
    row["overlap_rank_bm25"] = _overlap(workers, s)
    row["add_ms"], row["add_and_query_ms"] = _additions(workers, s)
    print(f"bm25: {documents:,} documents: {row['raw_ms']['lanpo_bm25']['p50']:.2f} ms", flush=True)
    return row


def _queries(workers: Workers, s: Settings, *, raw: bool) -> dict[str, Any]:
    """Single queries, the three in turns; rank_bm25 is asked fewer in each turn.

    Raw and split are different queries: what the first left in a cache does not help the second.
    """
    first = 0 if raw else s.warm_up + s.queries
    for name, worker in workers.items():
        size = 2 if name == "rank_bm25" else s.warm_up
        worker.ask("query", start=first, stop=first + size, raw=raw)
    ms: dict[str, list[float]] = {name: [] for name in workers}
    per_turn = max(1, s.slow_queries * s.block // s.queries)
    first += s.warm_up
    for start in range(first, first + s.queries, s.block):
        for name, worker in workers.items():
            size = per_turn if name == "rank_bm25" else s.block
            ms[name] += worker.ask("query", start=start, stop=start + size, raw=raw)
    return {name: summary(samples) for name, samples in ms.items()}


def _scores(workers: Workers, s: Settings) -> dict[str, float]:
    """Differences of our best 100 scores from those bm25s gives the same documents, and its own.

    The second finds what we left out: our best scores against the best of the reference.
    """
    which = {"start": 0, "stop": s.score_queries}
    ours = workers["lanpo_bm25"].ask("top", k=COMPARED, **which)
    theirs = workers["bm25s"].ask("top", k=COMPARED, **which)
    same = workers["bm25s"].ask("scores_of", documents=[ranking[0] for ranking in ours], **which)
    return {
        "queries": s.score_queries,
        "compared": sum(len(ranking[0]) for ranking in ours),
        "same_documents": _difference([r[1] for r in ours], same),
        "best_scores": _difference([r[1] for r in ours], [r[1] for r in theirs]),
    }


def _difference(ours_Q: Sequence[list[float]], theirs_Q: Sequence[list[float]]) -> float:
    """The greatest |a - b| / b over all queries; what only one of them found counts in full."""
    worst = 0.0
    for ours, theirs in zip(ours_Q, theirs_Q, strict=True):
        found = [score for score in theirs if score > 0]
        if len(ours) != len(found):
            return 1.0
        a, b = np.array(ours), np.array(found)
        worst = max(worst, float(np.max(np.abs(a - b) / b, initial=0.0)))
    return worst


def _overlap(workers: Workers, s: Settings) -> float:
    """The share of rank_bm25's best 10 that are among ours. Its idf is another one."""
    which = {"start": 0, "stop": s.slow_queries, "k": 10}
    ours = workers["lanpo_bm25"].ask("top", **which)
    theirs = workers["rank_bm25"].ask("top", **which)
    shared = [len(set(a[0]) & set(b[0])) for a, b in zip(ours, theirs, strict=True)]
    return sum(shared) / sum(len(ranking[0]) for ranking in theirs)


def _additions(workers: Workers, s: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """256 documents more, in turns: ours grows, the others are built again with them."""
    alone: dict[str, list[float]] = {name: [] for name in workers}
    asked: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(max(s.additions, s.rebuilds)):
        for name, worker in workers.items():
            if turn >= (s.additions if name == "lanpo_bm25" else s.rebuilds):
                continue
            answer = worker.ask("add", start=turn * ADDED, stop=(turn + 1) * ADDED)
            alone[name].append(answer["ms"])
            asked[name].append(answer["with_query_ms"])
    return (
        {name: summary(samples) for name, samples in alone.items()},
        {name: summary(samples) for name, samples in asked.items()},
    )
