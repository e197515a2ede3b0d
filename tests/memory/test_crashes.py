"""What a pool keeps when its process is killed with SIGKILL, at any moment.

By hand, for a table: ``python -m tests.memory.test_crashes --trials 200``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lanpo_memory
from lanpo_memory import Batch, ExperiencePool, Limits, Problem, open_pool
from lanpo_memory.errors import EmbedderMismatchError
from lanpo_memory.reindex import recorded_embedder, reindex
from tests.memory import crash_worker as worker

State = dict[str, dict[str, list[str]]]
"""The ids of each kind of record by problem, oldest first."""

VERSION_1 = Path(__file__).parent / "files" / "pool-v1.db"
KINDS = ("experience", "attempt", "exposure", "failure")
ALL = Problem(text="problem")
"""Shares a word with every problem there is."""


# ---------------------------------------------------------------------- what has to be there


def problem_of(record: Any) -> str:
    return record.problem_id if hasattr(record, "problem_id") else record.problem.id


def empty() -> State:
    return {kind: {} for kind in KINDS}


def after(state: State, batch: Batch, limits: Limits) -> tuple[State, Counter[str]]:
    """The state after a batch, and how many receipts of each status it has to give.

    True for the batches of the worker: each record is new, and no attempt is pushed out at once.
    """
    state = {kind: {p: list(ids) for p, ids in rows.items()} for kind, rows in state.items()}
    statuses: Counter[str] = Counter()
    for kind, records in zip(
        KINDS, (batch.experiences, batch.attempts, batch.exposures, batch.failures), strict=True
    ):
        for record in records:
            state[kind].setdefault(problem_of(record), []).append(record.id)
        statuses["added"] += len(records)
    evicted = cut(state["experience"], limits.capacity) & {e.id for e in batch.experiences}
    cut(state["attempt"], limits.attempts)
    statuses["evicted"] += len(evicted)
    statuses["added"] -= len(evicted)
    for gone in batch.deletions:
        holders = [ids for ids in state["experience"].values() if gone in ids]
        for ids in holders:
            ids.remove(gone)
        statuses["added" if holders else "rejected"] += 1
    return {
        kind: {p: ids for p, ids in rows.items() if ids} for kind, rows in state.items()
    }, +statuses


def cut(rows: dict[str, list[str]], capacity: int | None) -> set[str]:
    """First in, first out, per problem."""
    gone: set[str] = set()
    for ids in rows.values():
        excess = max(0, len(ids) - capacity) if capacity is not None else 0
        gone |= set(ids[:excess])
        del ids[:excess]
    return gone


@functools.cache
def expected(kind: str, batches: int) -> tuple[State, Counter[str]]:
    """The state after so many batches, and the statuses of the last one's receipts."""
    if batches == 0:
        return empty(), Counter()
    before, _ = expected(kind, batches - 1)
    return after(before, worker.BATCHES[kind](batches - 1), worker.LIMITS[kind])


def found_in(pool: ExperiencePool) -> State:
    state: State = {kind: defaultdict(list) for kind in KINDS}
    for kind in KINDS:
        for record in pool.store.scan(kind):
            state[kind][problem_of(record)].append(record.id)
    return {kind: dict(rows) for kind, rows in state.items()}


def rows_of(state: State) -> int:
    return sum(len(ids) for rows in state.values() for ids in rows.values())


# ---------------------------------------------------------------------- one trial


@dataclass(frozen=True)
class Outcome:
    """What one trial saw: `phase` is where the kill hit, `whole` an unacknowledged whole batch.

    Rows are those of the pool, of the last snapshot, or the texts that were reindexed.
    """

    phase: int
    acknowledged: int
    found: int
    whole: bool


class Victim:
    """A worker in a process of its own, and what it has told so far."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._phase = folder / "phase"
        self._phase.write_bytes(bytes([worker.STARTING]))
        (folder / "snapshots").mkdir()
        self._process = subprocess.Popen(
            [sys.executable, worker.__file__, kind, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # The code under test is the code of the tests, wherever that lies.
            env={**os.environ, "PYTHONPATH": str(Path(lanpo_memory.__file__).parents[1])},
        )
        self.told: list[dict[str, Any]] = []
        self.errors = ""

    def phase(self) -> int:
        return self._phase.read_bytes()[0]

    def wait_until_it_opens(self) -> None:
        while self.phase() == worker.STARTING and self._process.poll() is None:
            time.sleep(0.0005)

    def hear(self, lines: int) -> float:
        """Wait for so many lines; return the time between the last two, in seconds."""
        assert self._process.stdout is not None
        before = now = time.monotonic()
        for _ in range(lines):
            line = self._process.stdout.readline()
            before, now = now, time.monotonic()
            if line:
                self.told.append(json.loads(line))
        return now - before

    def kill(self) -> int:
        """SIGKILL; return what it was doing."""
        self._process.kill()
        rest, self.errors = self._process.communicate(timeout=60)
        self.told += [json.loads(line) for line in rest.splitlines()]
        assert self._process.returncode == -9, f"it ended by itself: {self.errors}"
        return self.phase()


def trial(kind: str, folder: Path, seed: int) -> Outcome:
    """Let a worker work, kill it at a random moment, look at what it left."""
    chance = random.Random(f"{kind} {seed}")
    folder.mkdir()
    followers = []
    if kind == "migration":
        shutil.copy(VERSION_1, folder / "pool.db")
    elif kind in ("adds", "evictions") and chance.random() < 0.5:
        followers.append(open_pool(folder / "pool.db"))
    victim = Victim(kind, folder)
    try:
        if kind in OPENINGS:
            victim.wait_until_it_opens()
            time.sleep(chance.uniform(0.0, 0.015))
        else:
            lines = chance.randint(2, 60) if kind == "reindex" else chance.randint(2, 4)
            period_s = victim.hear(lines)
            time.sleep(chance.uniform(0.0, 1.5) * min(period_s, 2.0))
    finally:
        phase = victim.kill()
    try:
        acknowledged, found, whole = LOOKS[kind](kind, folder, victim.told)
        with open_pool(folder / "pool.db") as pool:
            for follower in followers:
                follower.sync()
                assert follower.digest() == pool.digest()
                assert indexed(follower) == indexed(pool)
                assert follower.utility() == pool.utility()
    finally:
        for follower in followers:
            follower.close()
    assert not victim.errors
    return Outcome(phase, acknowledged, found, whole)


Told = list[dict[str, Any]]
Found = tuple[int, int, bool]
"""Rows acknowledged, rows found, and whether a whole unacknowledged batch is among them."""


def after_writing(kind: str, folder: Path, told: Told) -> Found:
    """The pool holds exactly the acknowledged batches, or these and the whole next one."""
    acknowledged = len(told)
    for n, line in enumerate(told, start=1):
        assert Counter(line["statuses"]) == expected(kind, n)[1], "the receipts say otherwise"
    possible = [expected(kind, acknowledged + extra)[0] for extra in (0, 1)]
    sound(folder / "pool.db")
    with open_pool(folder / "pool.db") as pool:
        found = found_in(pool)
        assert found in possible, "a row is lost, or half a batch was written"
        searchable(pool, found)
    if kind == "snapshots":
        found = in_snapshot(folder / "snapshots")
        assert found in possible, "the snapshot is neither the last one nor the next one"
    return rows_of(possible[0]), rows_of(found), found == possible[1]


def in_snapshot(folder: Path) -> State:
    """What a fresh pool holds when it takes the only file that can be seen in the folder."""
    assert [p.name for p in folder.iterdir() if not p.name.startswith(".")] == ["pool.jsonl"]
    with open_pool("memory:") as pool:
        pool.restore(folder / "pool.jsonl")
        return found_in(pool)


def after_opening(kind: str, folder: Path, told: Told) -> Found:
    """A file that was being made or brought up to date opens, with all that was in it."""
    assert told == []
    state = version_1() if kind == "migration" else empty()
    with open_pool(folder / "pool.db") as pool:
        assert found_in(pool) == state
        searchable(pool, state)
        receipts = pool.write(worker.additions(0))
        assert {r.status for r in receipts} == {"added"}
    sound(folder / "pool.db")
    return rows_of(state), rows_of(state), False


def after_reindexing(kind: str, folder: Path, told: Told) -> Found:
    """No chunk is embedded twice, and until the last one is there the old embedder stays."""
    dims = [worker.DIM, *(line["dim"] for line in told if "dim" in line)]
    last = max((i for i, line in enumerate(told) if "dim" in line), default=-1)
    chunks = [line["done"] for line in told[last + 1 :]]
    state = expected("reindex", 1)[0]
    texts, done = len(state["experience"]), max(chunks, default=0)
    old, new = worker.SlowEmbedder(dims[-1]), worker.SlowEmbedder(dims[-1] + 1)
    sound(folder / "pool.db")
    with open_pool(folder / "pool.db") as pool:
        assert found_in(pool) == state
        recorded = recorded_embedder(pool.store)
        whole = recorded == new.fingerprint
        assert whole or recorded == old.fingerprint
        assert done == texts or not whole
        embedded = reindex(pool.store, new, chunk=worker.CHUNK)
        assert embedded == new.texts
        assert texts - done - worker.CHUNK <= embedded <= texts - done
        with pytest.raises(EmbedderMismatchError):
            open_pool(folder / "pool.db", embedder=old)
    again = worker.SlowEmbedder(dims[-1] + 1)
    with open_pool(folder / "pool.db", embedder=again) as pool:
        assert again.texts == 0, "all vectors are in the pool"
        searchable(pool, state)
    return done, texts - embedded, whole


LOOKS: dict[str, Callable[[str, Path, Told], Found]] = {
    "adds": after_writing,
    "evictions": after_writing,
    "snapshots": after_writing,
    "reindex": after_reindexing,
    "creation": after_opening,
    "migration": after_opening,
}
OPENINGS = ("creation", "migration")


@functools.cache
def version_1() -> State:
    """What the old file holds, when nobody is killed over it."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(VERSION_1, Path(folder) / "pool.db")
        with open_pool(Path(folder) / "pool.db") as pool:
            return found_in(pool)


def sound(path: Path) -> None:
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


def indexed(pool: ExperiencePool, query: Problem = ALL) -> set[str]:
    return {hit.problem_id for hit in pool.retriever.retrieve([query], k=1_000_000)[0]}


def searchable(pool: ExperiencePool, found: State) -> None:
    """A freshly built index answers as the store says."""
    problems = pool.store.read("problem")
    assert {p.id for p in problems} == set(found["experience"])
    if problems:
        words = Problem(text=" ".join({p.text.split()[0] for p in problems}))
        assert indexed(pool, words) == set(found["experience"])
    else:
        assert indexed(pool) == set()
    answers = pool.retrieve(problems, k=4, width=4, newest=1)
    for problem, hits in zip(problems, answers, strict=True):
        assert found["experience"][problem.id][-1] in [hit.experience.id for hit in hits]


# ---------------------------------------------------------------------- many trials


def trials(kind: str, number: int, folder: Path, seed: int = 0) -> Iterator[Outcome]:
    for one in range(seed, seed + number):
        try:
            yield trial(kind, folder / f"{kind}-{one}", one)
        except AssertionError as error:
            error.add_note(f"kind {kind}, seed {one}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("adds", 15),
        ("evictions", 15),
        ("snapshots", 12),
        ("reindex", 10),
        ("creation", 6),
        ("migration", 6),
    ],
)
def test_kill_9_loses_nothing_and_leaves_nothing_half_done(kind: str, number: int, tmp_path: Path):
    outcomes = list(trials(kind, number, tmp_path))
    at_work = sum(o.phase != worker.IDLE for o in outcomes)
    assert at_work >= number // 3, "the kills have to hit while there is work in progress"


def row(kind: str, outcomes: list[Outcome]) -> str:
    phases = Counter(o.phase for o in outcomes)
    figures = (
        len(outcomes),
        len(outcomes) - phases[worker.IDLE],
        phases[worker.TRANSACTION],
        phases[worker.COMMIT],
        sum(o.whole for o in outcomes),
        sum(o.acknowledged for o in outcomes),
        sum(o.found for o in outcomes),
    )
    return f"| {kind} | " + " | ".join(f"{f:,}" for f in figures) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill pools and look at what they keep.")
    parser.add_argument("--trials", type=int, default=200, help="in all, over the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(worker.LIMITS))
    options = parser.parse_args()
    print(
        "| work | trials | killed in a call | in a transaction | in a commit "
        "| unacknowledged batch found whole | rows acknowledged | rows found |"
    )
    print("| :-- | --: | --: | --: | --: | --: | --: | --: |")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            number = options.trials // len(options.kinds)
            print(row(kind, list(trials(kind, number, Path(folder), options.seed))), flush=True)


if __name__ == "__main__":
    main()
