"""Ours next to Chroma and mem0: the same texts, vectors, questions, process model and moment.

Each entry is a text of its own with one lesson, so nothing is gained by searching problems instead
of entries. Ours looks with BM25 and then by cosine; Chroma and mem0 look by cosine alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus, imports
from benchmarks.environment import PEERS, Environment, prepare, sizes
from benchmarks.measure import summary
from benchmarks.settings import Settings
from benchmarks.workers import Worker, WorkerError

ADDED, K, RECALLED = 256, 8, 100
PACKAGE = {"chroma": "chromadb", "mem0": "mem0ai"}
MODULE = {"chromadb": "chromadb", "mem0ai": "mem0", "bm25s": "bm25s", "rank-bm25": "rank_bm25"}
OPTIONS: dict[str, dict[str, Any]] = {"lanpo": {"per_problem": 1, "extra": True}}


class Contender:
    """One system at one size. The first error ends its part, and is kept as its result."""

    def __init__(self, name: str, folder: Path, python: Path) -> None:
        self.name, self._python = name, python
        self._options = {
            "folder": str(folder / name),
            "texts": str(folder / "texts"),
            **OPTIONS.get(name, {}),
        }
        self.samples: dict[str, list[float]] = {}
        self.record: dict[str, Any] = {}

    @property
    def alive(self) -> bool:
        return "error" not in self.record

    def worker(self) -> Worker:
        return Worker(self.name, python=self._python, **self._options)

    def attempt(self, part: Callable[..., None], *arguments: object) -> None:
        """Do a part, called with this contender and the arguments, unless one failed before."""
        if not self.alive:
            return
        try:
            part(self, *arguments)
        except WorkerError as error:
            self.record["error"] = str(error)
            print(f"peers: {error}", flush=True)

    def note(self, name: str, ms: Sequence[float]) -> None:
        self.samples.setdefault(name, []).extend(ms)

    def result(self) -> dict[str, Any]:
        return {**self.record, **{name: summary(ms) for name, ms in self.samples.items() if ms}}


def run(settings: Settings) -> dict[str, Any]:
    """Install, import, and measure every size."""
    found = prepare()
    report: dict[str, Any] = {"problems": found.problems}
    if not found.usable:
        return report
    report["installed"] = sizes(found)
    report["imports"] = _imports(found, settings)
    entries = sorted({*settings.peer_sizes, *settings.mem0_sizes})
    report["rows"] = [measure(n, _names(n, settings, found), found, settings) for n in entries]
    return report


def _imports(found: Environment, s: Settings) -> dict[str, Any]:
    modules = [MODULE[name] for name in PEERS if name not in found.problems]
    try:
        return imports.measure([imports.OURS, *modules], s.imports, found.python)
    except WorkerError as error:
        return {"error": str(error)}


def _names(entries: int, s: Settings, found: Environment) -> list[str]:
    names = ["lanpo"]
    names += ["chroma"] if entries in s.peer_sizes else []
    names += ["mem0"] if entries in s.mem0_sizes else []
    return [name for name in names if PACKAGE.get(name) not in found.problems]


def measure(entries: int, names: Sequence[str], found: Environment, s: Settings) -> dict[str, Any]:
    """One size, in a folder that is removed afterwards."""
    folder = s.work / f"peers-{entries}"
    shutil.rmtree(folder, ignore_errors=True)
    queries = s.warm_up + s.queries + s.opens
    try:
        corpus.write(
            folder / "texts",
            documents=entries,
            queries=queries,
            extra=ADDED * (s.additions + 1),
        )
        contenders = [Contender(name, folder, found.python) for name in names]
        _measure(entries, contenders, folder / "texts", s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"entries": entries, "systems": {c.name: c.result() for c in contenders}}


def _measure(entries: int, contenders: Sequence[Contender], texts: Path, s: Settings) -> None:
    for contender in contenders:
        contender.attempt(_fill, entries, s.budget_s)
    for turn in range(s.opens):
        for contender in contenders:
            contender.attempt(_open, s.warm_up + s.queries + turn)
    with ExitStack() as stack:
        workers = _start(contenders, stack)
        _queries(contenders, workers, s)
        _recall(contenders, workers, texts, s)
        _additions(contenders, workers, s)
        for contender in contenders:
            contender.attempt(_crash, workers.get(contender.name), s)


def _fill(c: Contender, entries: int, budget_s: float) -> None:
    # It looks at the budget between two additions; one that hangs is ended later.
    with c.worker() as worker:
        filled = worker.ask("fill", entries=entries, budget_s=budget_s, timeout_s=2 * budget_s + 60)
    c.record |= {"fill": filled, "complete": filled["entries"] >= entries}
    print(f"peers: {c.name}: {filled['entries']:,} in {filled['seconds']:.0f} s", flush=True)


def _open(c: Contender, row: int) -> None:
    """A fresh process that opens and answers once: some load only when they are asked."""
    with c.worker() as worker:
        opened = worker.ask("open")["ms"]
        answered = worker.ask("query", start=row, stop=row + 1)["ms"][0]
    c.note("open_ms", [opened])
    c.note("open_and_query_ms", [opened + answered])


def _start(contenders: Sequence[Contender], stack: ExitStack) -> dict[str, Worker]:
    workers: dict[str, Worker] = {}

    def start(c: Contender) -> None:
        workers[c.name] = stack.enter_context(c.worker())
        workers[c.name].ask("open")

    for contender in contenders:
        contender.attempt(start)
    return workers


def _queries(contenders: Sequence[Contender], workers: dict[str, Worker], s: Settings) -> None:
    """Single questions, block by block in turns; memory after the last."""

    def ask(c: Contender, start: int, stop: int, name: str) -> None:
        answer = workers[c.name].ask("query", start=start, stop=stop, timeout_s=s.budget_s)
        c.note(name, answer["ms"])
        c.samples.setdefault("found", []).extend(answer["found"])

    def weigh(c: Contender) -> None:
        c.record["memory_mb"] = workers[c.name].ask("memory_mb")

    for c in contenders:
        c.attempt(ask, 0, s.warm_up, "warm_up_ms")
    for start in range(s.warm_up, s.warm_up + s.queries, s.block):
        for c in contenders:
            c.attempt(ask, start, start + s.block, "query_ms")
    for c in contenders:
        c.attempt(weigh)


def _recall(
    contenders: Sequence[Contender], workers: dict[str, Worker], texts: Path, s: Settings
) -> None:
    """The share of the 8 texts nearest by cosine, over all that are stored, that each found."""
    asked = min(RECALLED, s.queries)
    rows = corpus.read(texts, "queries", stop=asked).vectors

    def compare(c: Contender) -> None:
        stored = corpus.read(texts, "documents", stop=c.record["fill"]["entries"])
        nearest = np.argsort(-(rows @ stored.vectors.T), axis=1)[:, :K]
        found = workers[c.name].ask("nearest", start=0, stop=asked, timeout_s=s.budget_s)
        shared = sum(
            len({stored.texts[place] for place in places} & set(texts_found))
            for places, texts_found in zip(nearest, found, strict=True)
        )
        c.record["recall"] = shared / nearest.size

    for c in contenders:
        c.attempt(compare)


def _additions(contenders: Sequence[Contender], workers: dict[str, Worker], s: Settings) -> None:
    """256 new entries, in turns."""

    def add(c: Contender, turn: int) -> None:
        which = {"start": turn * ADDED, "stop": (turn + 1) * ADDED}
        c.note("add_ms", [workers[c.name].ask("add", timeout_s=s.budget_s, **which)["ms"]])

    for turn in range(s.additions):
        for c in contenders:
            c.attempt(add, turn)


def _crash(c: Contender, worker: Worker, s: Settings) -> None:
    """Kill the process (-9) once the last addition has returned, and count in a new one."""
    start = s.additions * ADDED
    before = worker.ask("count")
    worker.ask("add", start=start, stop=start + ADDED, timeout_s=s.budget_s)
    c.record["network"] = worker.ask("network")
    worker.kill()
    with c.worker() as fresh:
        fresh.ask("open")
        kept = fresh.ask("count") - before
    c.record["kept_after_kill"] = {"added": ADDED, "kept": kept}
