"""What processes and threads see of each other's writes to one pool.

By hand, for figures: ``python tests/memory/test_processes.py --seconds 60``. What happens when a
process dies is in `test_crashes.py`.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lanpo_memory
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
from lanpo_memory.types import FailedAnswer

SECONDS = float(os.environ.get("LANPO_SOAK_SECONDS", "10"))
WRITERS, READERS, CROWDED = 8, 4, 6
LIMITS = Limits(capacity=6, per_step=None)


def lesson(problem: str, text: str, step: int = 0) -> Experience:
    return Experience(
        problem=Problem(text=problem), principles=(text,), metadata=ExperienceMetadata(step=step)
    )


# ---------------------------------------------------------------------- processes


class Worker:
    """This file, run as a process of its own in one of its roles."""

    def __init__(self, role: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, role, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(lanpo_memory.__file__).parents[1])},
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(self.process.communicate(timeout=60)[1])

    def go(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died; `result` says of what
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def result(self, timeout_s: float) -> Any:
        out, errors = self.process.communicate(timeout=timeout_s)
        assert (self.process.returncode, errors) == (0, "")
        return json.loads(out)


@contextmanager
def at_work(*workers: Worker) -> Iterator[None]:
    """Start all of them at the same moment; leave none behind."""
    try:
        for worker in workers:
            worker.wait_until_ready()
        for worker in workers:
            worker.go()
        yield
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.communicate()


def wait_for_go() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


# ---------------------------------------------------------------------- the same entries


def add_the_same(path: str, seed: str) -> None:
    """Role `same`: the same 1,000 entries as the others, in an order and in batches of its own."""
    entries = [lesson(f"shared {i % 250}", f"lesson {i // 250}", i // 250) for i in range(1000)]
    chance = random.Random(seed)
    chance.shuffle(entries)
    wait_for_go()
    receipts: Counter[str] = Counter()
    with open_pool(path) as pool:
        while entries:
            size = chance.randint(1, 40)
            receipts.update(r.status for r in pool.add(entries[:size]))
            del entries[:size]
    print(json.dumps(receipts))


@pytest.mark.slow
def test_processes_that_add_the_same_leave_each_once_and_their_receipts_add_up(tmp_path: Path):
    path = tmp_path / "pool.db"
    workers = [Worker("same", path, seed) for seed in range(8)]
    with at_work(*workers):
        results = [worker.result(timeout_s=240) for worker in workers]
    assert sum(map(Counter, results), Counter()) == {"added": 1000, "duplicate": 7000}
    assert all(sum(result.values()) == 1000 for result in results)
    with open_pool(path) as pool:
        assert len(pool) == 1000
        assert len({e.id for e in pool.store.read("experience")}) == 1000
        assert pool.store.count("problem") == 250


# ---------------------------------------------------------------------- opening and closing


def open_many(folder: str, number: str) -> None:
    """Role `open`: new files, files of version 1 and files of now, each at once with the others."""
    wait_for_go()
    turn = time.time() + 0.2
    for i in range(int(number)):
        turn += 0.02
        time.sleep(max(0.0, turn - time.time()))
        with open_pool(Path(folder) / f"{i}.db") as pool:
            assert len(pool.digest()) == 64
    print(json.dumps("opened"))


@pytest.mark.slow
def test_processes_that_open_a_file_at_the_same_moment_all_get_it(tmp_path: Path):
    old = Path(__file__).parent / "files" / "pool-v1.db"
    for i in range(0, 240, 3):
        shutil.copy(old, tmp_path / f"{i}.db")
    workers = [Worker("open", tmp_path, 240) for _ in range(4)]
    with at_work(*workers):
        assert [w.result(timeout_s=120) for w in workers] == ["opened"] * 4
    digests = set()
    for i in range(240):
        with open_pool(tmp_path / f"{i}.db", create=False) as pool:
            digests.add((i % 3 == 0, pool.digest()))
    assert len(digests) == 2


def look_once(path: str) -> None:
    """Role `look`: open, count, close."""
    wait_for_go()
    with open_pool(path) as pool:
        print(json.dumps(len(pool)))


@pytest.mark.parametrize("second", ["default", "another namespace"])
def test_a_file_that_is_open_twice_in_a_process_outlives_others_that_close_it(
    second: str, tmp_path: Path
):
    """POSIX drops a process's locks on a file when it closes any descriptor of that file."""
    path = tmp_path / "pool.db"
    with open_pool(path) as pool, open_pool(path, namespace=second):
        for number in range(3):
            assert [r.status for r in pool.add([lesson(f"number {number}", "x")])] == ["added"]
            worker = Worker("look", path)
            with at_work(worker):
                assert worker.result(timeout_s=60) == number + 1
            assert path.with_name("pool.db-wal").exists(), "the log in use was removed"
    with open_pool(path) as pool:
        assert len(pool) == 3


# ---------------------------------------------------------------------- everything at once


def own_problem(writer: int, n: int) -> str:
    return f"entry of its own: w{writer}n{n}"


def crowded_problem(number: int) -> str:
    return f"entry of all: c{number}"


class Writer:
    """Role `write`: adds, evicts and deletes, and tells of each batch before and afterwards.

    The line ``begin`` is in the file before the batch is written and the line ``done`` after it
    was acknowledged, with the time of a clock that all processes share.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._chance = random.Random(f"writer {number}")
        self._log = (folder / f"{number}.log").open("w", encoding="utf-8")
        self._alive: list[Experience] = []
        self._gone: list[str] = []
        self._entries = 0
        self.receipts: Counter[str] = Counter()
        self.longest_s = 0.0

    def tell(self, what: str, batch: int, **facts: object) -> None:
        line = {"what": what, "batch": batch, "time": time.monotonic_ns(), **facts}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    def write(self, pool: ExperiencePool, n: int) -> None:
        chance = self._chance
        own = [self._next(n) for _ in range(chance.randint(0, 5))]
        crowd = crowded_problem(chance.randrange(CROWDED))
        shared = [
            lesson(crowd, f"{self.number} {n} {i}", n) for i in range(chance.choice([0, 1, 2, 8]))
        ]
        again = chance.sample(self._alive, min(len(self._alive), chance.randint(0, 2)))
        rest = [e for e in self._alive if e not in again]
        leave = chance.sample(rest, min(len(rest), chance.randint(0, 3)))
        unknown = chance.sample(self._gone, min(len(self._gone), chance.randint(0, 1)))
        problem = Problem(text=crowd)
        batch = Batch(
            experiences=(*own, *shared, *again),
            attempts=(Attempt(problem=problem, text=f"{self.number} {n}", step=n),),
            exposures=(self._exposure(problem, n),),
            failures=(
                FailedAnswer(
                    role="r", problem_id=problem.id, text=str(self.number), reason="-", step=n
                ),
            ),
            deletions=(*(e.id for e in leave), *unknown),
        )
        pushed = max(0, len(shared) - 6)
        expected = (
            *["added"] * len(own),
            *["evicted"] * pushed,
            *["added"] * (len(shared) - pushed),
            *["duplicate"] * len(again),
            *["added"] * (3 + len(leave)),
            *["rejected"] * len(unknown),
        )
        self._write(pool, n, batch, own, shared[pushed:], leave, expected)
        self._alive = [e for e in self._alive if e not in leave] + own
        self._gone += [e.id for e in leave]

    def _next(self, n: int) -> Experience:
        self._entries += 1
        return lesson(own_problem(self.number, self._entries), "mine", n)

    def _exposure(self, problem: Problem, n: int) -> Exposure:
        return Exposure(
            problem_id=problem.id,
            lesson_ids=(f"lesson {self._chance.randrange(5)}",),
            step=n,
            group=str(self.number),
            guided=(self._chance.random(),),
            group_size=2,
        )

    def _write(
        self,
        pool: ExperiencePool,
        n: int,
        batch: Batch,
        own: list[Experience],
        shared: list[Experience],
        leave: list[Experience],
        expected: tuple[str, ...],
    ) -> None:
        facts: dict[str, Any] = {
            "own": [[e.id, e.problem.text] for e in own],
            "shared": [[e.id, e.problem.text] for e in shared],
            "leave": [e.id for e in leave],
        }
        self.tell("begin", n, **facts)
        started = time.monotonic()
        receipts = pool.write(batch)
        self.longest_s = max(self.longest_s, time.monotonic() - started)
        self.tell("done", n)
        assert tuple(r.status for r in receipts) == expected, receipts
        self.receipts.update(expected)


def write_for(path: str, folder: str, number: str, seconds: str) -> None:
    wait_for_go()
    writer = Writer(Path(folder), int(number))
    deadline = time.monotonic() + float(seconds)
    n = 0
    with open_pool(path, limits=LIMITS) as pool:
        while time.monotonic() < deadline:
            writer.write(pool, n)
            n += 1
    print(json.dumps({"batches": n, "receipts": writer.receipts, "longest_s": writer.longest_s}))


@dataclass
class Item:
    """What the writers have told of one experience; times in nanoseconds, 0 for not yet."""

    id: str
    problem: str
    shared: bool
    begin: int
    done: int = 0
    leaving: bool = False
    left: bool = False


@dataclass
class News:
    """Everything the writers have told so far."""

    folder: Path
    items: dict[str, Item] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    done: defaultdict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    crowds: defaultdict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    _offsets: Counter[Path] = field(default_factory=Counter)
    _open: dict[tuple[Path, int], dict[str, Any]] = field(default_factory=dict)

    def hear(self) -> list[Item]:
        """Read what is new; return the items that it is about."""
        touched: list[Item] = []
        for path in sorted(self.folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._offsets[path] += len(whole)
            for line in whole.splitlines():
                touched += self._take(path, json.loads(line))
        return touched

    def _take(self, path: Path, line: dict[str, Any]) -> list[Item]:
        key, now = (path, line["batch"]), line["time"]
        if line["what"] == "begin":
            self._open[key] = line
            for kind in ("own", "shared"):
                for i, problem in line[kind]:
                    self.items[i] = Item(i, problem, kind == "shared", begin=now)
                    self.begun[problem] += 1
            for i in line["leave"]:
                self.items[i].leaving = True
            return []
        begin = self._open.pop(key)
        came = [self.items[i] for i, _ in (*begin["own"], *begin["shared"])]
        for item in came:
            item.done = now
            bisect.insort(self.done[item.problem], (now, item.begin))
        left = [self.items[i] for i in begin["leave"]]
        for item in left:
            item.left = True
        pushed = []
        for problem in {item.problem for item in came if item.shared}:
            self.crowds[problem] += [item for item in came if item.problem == problem]
            pushed += self.crowds[problem][-18:-6]  # about these were pushed out lately
        return came + left + pushed


class Reader:
    """Role `read`: after each announcement, one poll has to show what was announced."""

    def __init__(self, pool: ExperiencePool, folder: Path, number: int) -> None:
        self._pool, self._news = pool, News(folder)
        self._chance = random.Random(f"reader {number}")
        self.polls: Counter[str] = Counter()
        self.checks: Counter[str] = Counter()

    def poll(self) -> None:
        items = self._news.hear()
        way = self._chance.choice(["get", "retrieve", "index"])
        if way == "index":  # it holds problems; one that others still crowd stays in it
            items = [item for item in items if not item.shared]
        items = self._chance.sample(items, min(len(items), 24))
        if not items:
            time.sleep(0.002)
            return
        known = {item.id: self._must_be(item) for item in items}
        present = getattr(self, f"_by_{way}")(items)
        self._news.hear()  # whatever a poll can have seen was begun, and told, before it ended
        self.polls[way] += 1
        for item in items:
            must = known[item.id]
            if must == "there" and not self._may_have_gone(item):
                self.checks[f"{'shared' if item.shared else 'own'} there"] += 1
                assert item.id in present, f"{way}: {item} is not seen"
            elif must == "gone":
                self.checks["evicted" if item.shared else "deleted"] += 1
                assert item.id not in present, f"{way}: {item} is still seen"

    def _must_be(self, item: Item) -> str:
        """What was certain before the poll."""
        if item.left:
            return "gone"
        done = self._news.done[item.problem]
        later = [begin for _, begin in done[bisect.bisect(done, (item.done, item.done)) :]]
        pushed = item.shared and sum(begin > item.done for begin in later) >= 6
        return "gone" if pushed else "there"

    def _may_have_gone(self, item: Item) -> bool:
        if item.leaving or not item.shared:
            return item.leaving
        earlier = bisect.bisect_left(self._news.done[item.problem], (item.begin, 0))
        return self._news.begun[item.problem] - earlier - 1 >= 6

    def _by_get(self, items: list[Item]) -> set[str]:
        found = self._pool.get([item.id for item in items])
        return {e.id for e in found if e is not None}

    def _by_retrieve(self, items: list[Item]) -> set[str]:
        problems = [Problem(text=item.problem) for item in items]
        answers = self._pool.retrieve(problems, k=32, width=2, newest=6)
        return {hit.experience.id for hits in answers for hit in hits}

    def _by_index(self, items: list[Item]) -> set[str]:
        self._pool.sync()
        problems = [Problem(text=item.problem) for item in items]
        hits = self._pool.retriever.retrieve(problems, k=2)
        indexed = {hit.problem_id for each in hits for hit in each}
        return {i.id for i, p in zip(items, problems, strict=True) if p.id in indexed}


def read_until_told(path: str, folder: str, number: str) -> None:
    stop = threading.Event()
    wait_for_go()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    with open_pool(path, limits=LIMITS) as pool:
        reader = Reader(pool, Path(folder), int(number))
        while not stop.is_set():
            reader.poll()
        print(json.dumps({"polls": reader.polls, "checks": reader.checks, **view(pool)}))


def view(pool: ExperiencePool) -> dict[str, Any]:
    """What a pool answers: equal for all that have the same content."""
    queries = [Problem(text=crowded_problem(i)) for i in range(CROWDED)]
    queries += [Problem(text=own_problem(w, n)) for w in range(WRITERS) for n in range(1, 40, 3)]
    answers = pool.retrieve(queries, k=8, width=8)
    every = pool.retriever.retrieve([Problem(text="entry")], k=1_000_000)[0]
    return {
        "digest": pool.digest(),
        "index": sorted(hit.problem_id for hit in every),
        "answers": [[[h.experience.id, h.similarity] for h in hits] for hits in answers],
        "utility": {lesson: u.model_dump() for lesson, u in pool.utility().items()},
    }


@dataclass
class Soak:
    """What came of one run with writers and readers."""

    writers: list[dict[str, Any]]
    readers: list[dict[str, Any]]
    rows: int

    def row(self, seconds: float) -> str:
        receipts = sum((Counter(w["receipts"]) for w in self.writers), Counter())
        checks = sum((Counter(r["checks"]) for r in self.readers), Counter())
        polls = sum(sum(r["polls"].values()) for r in self.readers)
        return (
            f"{seconds:g} s, {WRITERS} writers, {READERS} readers: "
            f"{sum(w['batches'] for w in self.writers):,} batches, receipts {dict(receipts)}, "
            f"{self.rows:,} experiences at the end, "
            f"longest write {max(w['longest_s'] for w in self.writers):.2f} s; "
            f"{polls:,} polls, checks {dict(checks)}"
        )


def soak(folder: Path, seconds: float) -> Soak:
    path, logs = folder / "pool.db", folder / "logs"
    logs.mkdir()
    writers = [Worker("write", path, logs, i, seconds) for i in range(WRITERS)]
    readers = [Worker("read", path, logs, i) for i in range(READERS)]
    with at_work(*writers, *readers):
        wrote = [w.result(timeout_s=seconds + 120) for w in writers]
        for reader in readers:
            reader.go()
        read = [r.result(timeout_s=120) for r in readers]
    news = News(logs)
    news.hear()
    with open_pool(path, limits=LIMITS) as pool:
        assert sum(w["batches"] for w in wrote) == pool.store.count("exposure")
        assert sum(w["batches"] for w in wrote) == pool.store.count("failure")
        nothing_unaccounted(pool, news)
        fresh = json.loads(json.dumps(view(pool)))
        rows = len(pool)
    for reader in read:
        for what, answer in fresh.items():
            assert reader[what] == answer, f"a reader's {what} is not that of a fresh pool"
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    return Soak(wrote, read, rows)


def nothing_unaccounted(pool: ExperiencePool, news: News) -> None:
    """What was acknowledged, less what was deleted and evicted, is there, and nothing else."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for e in pool.store.read("experience"):
        found[e.problem.text].append(e.id)
    items = news.items.values()
    assert all(item.done for item in items)
    own = {i.id for i in items if not i.shared and not i.left}
    crowds = {crowded_problem(i) for i in range(CROWDED)}
    assert own == {i for problem, ids in found.items() if problem not in crowds for i in ids}
    for crowd in crowds:
        told = [item for item in items if item.problem == crowd]
        assert len(found[crowd]) == min(6, len(told)), "the capacity does not hold exactly"
        stayed = [item for item in told if item.id in found[crowd]]
        went = [item for item in told if item.id not in found[crowd]]
        first = min(item.done for item in stayed)
        assert all(item.begin < first for item in went), "not the oldest were pushed out"


@pytest.mark.slow
def test_eight_writers_and_four_readers_see_each_other_at_once_and_lose_nothing(tmp_path: Path):
    outcome = soak(tmp_path, SECONDS)
    print(outcome.row(SECONDS))
    for reader in outcome.readers:
        checks = reader["checks"]
        assert {"own there", "shared there", "deleted", "evicted"} <= checks.keys()


# ---------------------------------------------------------------------- threads


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_threads_that_read_during_writes_see_what_was_acknowledged(kind: str, tmp_path: Path):
    url = "memory:" if kind == "memory" else str(tmp_path / "pool.db")
    written: list[Experience] = []
    deleted: list[Experience] = []
    done = threading.Event()

    def write(number: int) -> None:
        for n in range(40):
            own = [lesson(own_problem(number, 3 * n + i), "mine", n) for i in range(3)]
            assert [r.status for r in pool.add(own)] == ["added"] * 3
            written.extend(own[:2])
            assert [r.status for r in pool.delete([own[2].id])] == ["added"]
            deleted.append(own[2])

    def read(number: int) -> int:
        chance, polls = random.Random(number), 0
        while not done.is_set():
            there = chance.sample(written, min(len(written), 5))
            gone = chance.sample(deleted, min(len(deleted), 5))
            answers = pool.retrieve([e.problem for e in (*there, *gone)], k=1)
            ids = [[hit.experience.id for hit in hits] for hits in answers]
            assert ids[: len(there)] == [[e.id] for e in there]
            assert not {e.id for e in gone} & {i for each in ids for i in each}
            assert None not in pool.get([e.id for e in there])
            assert pool.get([e.id for e in gone]) == [None] * len(gone)
            assert len(pool.digest()) == 64
            polls += 1
        return polls

    with open_pool(url) as pool, ThreadPoolExecutor(7) as threads:
        readers = [threads.submit(read, i) for i in range(4)]
        writers = [threads.submit(write, i) for i in range(3)]
        try:
            for each in writers:
                each.result(timeout=120)
        finally:
            done.set()
        assert min(each.result(timeout=60) for each in readers) > 0
        assert len(pool) == len(written) == 3 * 40 * 2


# ---------------------------------------------------------------------- by hand, and as a worker

ROLES = {
    "same": add_the_same,
    "open": open_many,
    "look": look_once,
    "write": write_for,
    "read": read_until_told,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Writers and readers on one pool.")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(soak(Path(folder), options.seconds).row(options.seconds))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](*sys.argv[2:])
    else:
        main()
