"""Any history of operations leaves every backend as the documentation says: a model against pools.

The file is opened three times, once by another process; each operation goes through one of them.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

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
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import FailedAnswer

EXAMPLES = int(os.environ.get("LANPO_EXAMPLES", "60"))
NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None)


# ---------------------------------------------------------------------- the model


@dataclass
class Model:
    """A pool as plain lists, oldest first, by the words of `Limits` and `ExperienceStore.write`."""

    limits: Limits
    experiences: list[Experience] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
    failures: list[FailedAnswer] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Model:
        """What a snapshot keeps: the records, and the texts of those problems alone."""
        return Model(
            self.limits,
            list(self.experiences),
            list(self.attempts),
            list(self.exposures),
            list(self.failures),
            {r.problem.id: r.problem.text for r in (*self.experiences, *self.attempts)},
        )

    def write(self, batch: Batch, worth: Callable[[str], float] = lambda _: 0.0) -> list[str]:
        """Return the statuses of the receipts."""
        statuses = [
            *self._limited(
                self.experiences, batch.experiences, self._may_add, self.limits.capacity, worth
            ),
            *self._limited(
                self.attempts, batch.attempts, lambda _: True, self.limits.attempts, lambda _: 0.0
            ),
        ]
        for mine, records, most in (
            (self.exposures, batch.exposures, None),
            (self.failures, batch.failures, self.limits.failures),
        ):
            told = []
            for record in records:
                new = record.id not in {r.id for r in mine}
                told.append("added" if new else "duplicate")
                mine += [record] * new
            gone = [] if most is None or not records else mine[: max(0, len(mine) - most)]
            mine[:] = mine[len(gone) :]
            ids = {r.id for r in gone}
            statuses += [
                "evicted" if status == "added" and record.id in ids else status
                for status, record in zip(told, records, strict=True)
            ]
        for gone in batch.deletions:
            before = len(self.experiences) + len(self.failures)
            self.experiences[:] = [e for e in self.experiences if e.id != gone]
            self.failures[:] = [f for f in self.failures if f.id != gone]
            after = len(self.experiences) + len(self.failures)
            statuses.append("rejected" if after == before else "added")
        return statuses

    def _may_add(self, new: Experience) -> bool:
        stored = [e for e in self.experiences if e.problem.id == new.problem.id]
        of_step = [e for e in stored if e.metadata.step == new.metadata.step]
        return self.limits.per_step is None or len(of_step) < self.limits.per_step

    def _limited(
        self,
        mine: list[Any],
        records: Sequence[Any],
        may_add: Callable[[Any], bool],
        capacity: int | None,
        worth: Callable[[str], float],
    ) -> list[str]:
        statuses = []
        for record in records:
            problem = record.problem
            # The first text of an id stays, also when the last record of the problem goes.
            if self.texts.setdefault(problem.id, problem.text).split() != problem.text.split():
                statuses.append("rejected")
            elif record.id in {r.id for r in mine}:
                statuses.append("duplicate")
            elif not may_add(record):
                statuses.append("rejected")
            else:
                mine.append(record)
                statuses.append("added")
        evicted = self._evict(mine, capacity, worth)
        return [
            "evicted" if status == "added" and record.id in evicted else status
            for record, status in zip(records, statuses, strict=True)
        ]

    @staticmethod
    def _evict(mine: list[Any], capacity: int | None, worth: Callable[[str], float]) -> set[str]:
        gone: set[str] = set()
        for problem in {r.problem.id for r in mine}:
            rows = [r for r in mine if r.problem.id == problem]
            excess = 0 if capacity is None else max(0, len(rows) - capacity)
            # `sorted` is stable: of equals the oldest goes first.
            rows.sort(key=lambda r: worth(getattr(r, "lesson_id", "")))
            gone |= {r.id for r in rows[:excess]}
        mine[:] = [r for r in mine if r.id not in gone]
        return gone

    def retrieved(self, query: Problem, newest: int) -> dict[str, list[str]]:
        """What a search with room for everything finds: ids by problem, newest first."""
        words = set(query.text.lower().split())
        found: dict[str, list[str]] = {}
        for e in reversed(self.experiences):
            if words & set(e.problem.text.lower().split()):
                found.setdefault(e.problem.id, []).append(e.id)
        return {problem: ids[:newest] for problem, ids in found.items()}

    def counts(self) -> dict[str, int]:
        return {
            "problems": len({e.problem.id for e in self.experiences}),
            "experiences": len(self.experiences),
            "attempts": len(self.attempts),
            "exposures": len(self.exposures),
            "failures": len(self.failures),
        }


# ---------------------------------------------------------------------- another process


class Helper:
    """This file run as a process that does to its own pool what it is told."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, what: str, *arguments: Any, **options: Any) -> Any:
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump((what, arguments, options), process.stdin)
        process.stdin.flush()
        try:
            return pickle.load(process.stdout)
        except EOFError:  # it failed; the next history gets a new one
            self._process = None
            raise AssertionError(f"in the other process: {process.communicate()[1]!r}") from None

    @staticmethod
    def _started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(lanpo_memory.__file__).parents[1])},
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
            assert self._process.returncode == 0


def serve() -> None:
    pool: ExperiencePool | None = None
    while True:
        try:
            what, arguments, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = None
        if what == "open":
            pool = open_at(*arguments)
        elif what == "fetch":
            answer = getattr(pool.store, arguments[0])(*arguments[1:]) if pool else None
        else:
            answer = getattr(pool, what)(*arguments, **options)
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def open_at(url: str | Path, limits: Limits) -> ExperiencePool:
    return open_pool(url, limits=limits, clock=_noon)


def _noon() -> float:
    return 12.0


class Remote:
    """The pool of the other process, with the methods of a pool."""

    def __init__(self, helper: Helper, path: Path, limits: Limits) -> None:
        self._helper = helper
        helper.ask("open", path, limits)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._helper.ask(name, *arguments, **options)

    def __len__(self) -> int:
        return int(self._helper.ask("__len__"))


# ---------------------------------------------------------------------- what is generated

TEXTS = ("add two numbers", "add three numbers", "a triangle", "two  triangles", "prime")
PROBLEMS = [Problem(text=text) for text in TEXTS]
VARIANT = Problem(text="  a\ntriangle ", family="geometry", metadata={"level": 1})
CLASHES = [Problem(text="prime factors", id="x"), Problem(text="prime sums", id="x")]
problems = st.sampled_from([*PROBLEMS, VARIANT, *CLASHES])
steps = st.integers(0, 2)


@st.composite
def experiences(draw: st.DrawFn) -> Experience:
    return Experience(
        problem=draw(problems),
        principles=(draw(st.sampled_from("abcdef")),),
        metadata=ExperienceMetadata(
            step=draw(steps), reward=draw(st.sampled_from([None, 0.5])), parents=("p",)
        ),
    )


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    return Exposure(
        problem_id=draw(problems).id,
        lesson_ids=tuple(draw(st.lists(st.sampled_from("lm"), min_size=1, max_size=2))),
        step=draw(steps),
        guided=tuple(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=2))),
        scratch=(0.25,),
        group_size=4,
    )


attempts = st.builds(Attempt, problem=problems, text=st.sampled_from("uvwxyz"), step=steps)
failures = st.builds(
    FailedAnswer,
    role=st.just("summarise"),
    problem_id=problems.map(lambda p: p.id),
    text=st.sampled_from("?!"),
    reason=st.just("r"),
    step=steps,
)
limits = st.builds(
    Limits,
    capacity=st.sampled_from([None, 1, 2, 3, 5]),
    per_step=st.sampled_from([None, 1, 2, 4]),
    attempts=st.sampled_from([None, 1, 2]),
    failures=st.sampled_from([None, 1, 3]),
)
batches = st.builds(
    Batch,
    experiences=st.lists(experiences(), max_size=8).map(tuple),
    attempts=st.lists(attempts, max_size=4).map(tuple),
    exposures=st.lists(exposures(), max_size=3).map(tuple),
    failures=st.lists(failures, max_size=2).map(tuple),
)


def by_problem(records: Iterable[Any]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for record in records:
        problem = (
            record.problem.id if isinstance(record, Experience | Attempt) else record.problem_id
        )
        rows.setdefault(problem, []).append(record.id)
    return rows


# ---------------------------------------------------------------------- the machine


class Machine(RuleBasedStateMachine):
    """The model, a pool in memory, and a file that two processes have opened three times."""

    helper: Helper

    @initialize(limits=limits)
    def open_all(self, limits: Limits) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.model, self.saved = Model(limits), Model(limits)
        self.memory = open_at("memory:", limits)
        self.file = [open_at(self.folder / "pool.db", limits) for _ in range(2)]
        self.pools: list[Any] = [*self.file, Remote(self.helper, self.folder / "pool.db", limits)]
        self.turn = 0
        self.bystander = open_pool(self.folder / "pool.db", namespace="bystander")
        self.bystander.add([Experience(problem=p, thoughts="t") for p in PROBLEMS])
        self.untouched = self.bystander.digest()

    def teardown(self) -> None:
        if not hasattr(self, "untouched"):
            return
        assert self.bystander.digest() == self.untouched, "another namespace was touched"
        self.pools[2].close()
        for pool in (*self.file, self.memory, self.bystander):
            pool.close()
        shutil.rmtree(self.folder)

    # what is written

    @rule(batch=batches, deletions=st.lists(st.integers(0, 40), max_size=3), by=st.integers(0, 2))
    def write(self, batch: Batch, deletions: list[int], by: int) -> None:
        new = (*batch.experiences, *batch.failures)
        known = [r.id for r in (*self.model.failures, *self.model.experiences, *new)]
        gone = tuple(known[i] if i < len(known) else f"unknown {i}" for i in deletions)
        batch = batch.model_copy(update={"deletions": gone})
        self._write(batch, by)

    @rule(
        problem=st.sampled_from(PROBLEMS),
        lessons=st.lists(st.sampled_from("abcdefghijkl"), min_size=4, max_size=12),
        step=steps,
        by=st.integers(0, 2),
    )
    def crowd(self, problem: Problem, lessons: list[str], step: int, by: int) -> None:
        metadata = ExperienceMetadata(step=step)
        self._write(
            Batch(
                experiences=tuple(
                    Experience(problem=problem, thoughts=text, metadata=metadata)
                    for text in lessons
                )
            ),
            by,
        )

    @rule(
        problem=st.sampled_from(PROBLEMS[:2]),
        texts=st.lists(st.sampled_from("uvwx"), min_size=2, max_size=5),
        by=st.integers(0, 2),
    )
    def try_again(self, problem: Problem, texts: list[str], by: int) -> None:
        self._write(Batch(attempts=tuple(Attempt(problem=problem, text=t) for t in texts)), by)

    @precondition(lambda self: self.model.experiences)
    @rule(pick=st.integers(0, 100), by=st.integers(0, 2))
    def empty_a_problem(self, pick: int, by: int) -> None:
        problem = self.model.experiences[pick % len(self.model.experiences)].problem.id
        ids = [e.id for e in self.model.experiences if e.problem.id == problem]
        self._write(Batch(deletions=(*ids, ids[0])), by)

    def _write(self, batch: Batch, by: int) -> None:
        statuses = self.model.write(batch)
        ids = [
            *(r.id for r in (*batch.experiences, *batch.attempts)),
            *(r.id for r in (*batch.exposures, *batch.failures)),
            *batch.deletions,
        ]
        for pool in (self.memory, self.pools[by]):
            receipts = pool.write(batch)
            assert [(r.status, r.id) for r in receipts] == list(zip(statuses, ids, strict=True))

    # pools that come and go

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.file[which].close()
        self.file[which] = self.pools[which] = open_at(self.folder / "pool.db", self.model.limits)

    @rule()
    def reopen_in_the_other_process(self) -> None:
        self.pools[2].close()
        self.pools[2] = Remote(self.helper, self.folder / "pool.db", self.model.limits)

    @rule(by=st.integers(0, 2))
    def snapshot(self, by: int) -> None:
        self.saved = self.model.copy()
        self.pools[by].snapshot(self.folder / "file.jsonl")
        self.memory.snapshot(self.folder / "memory.jsonl")

    @precondition(lambda self: (self.folder / "file.jsonl").exists())
    @rule(by=st.integers(0, 2))
    def go_back(self, by: int) -> None:
        """Each backend takes the snapshot of the other."""
        self.pools[by].restore(self.folder / "memory.jsonl")
        self.memory.restore(self.folder / "file.jsonl")
        self.model = self.saved.copy()

    @rule(by=st.integers(0, 2))
    def a_fresh_pool_from_a_snapshot_is_the_same(self, by: int) -> None:
        path = self.pools[by].snapshot(self.folder / "now.jsonl")
        digest = self.memory.digest()
        for url in ("memory:", self.folder / "fresh.db"):
            with open_at(url, self.model.limits) as pool:
                pool.restore(path)
                assert pool.digest() == digest
                assert pool.stats() == self.memory.stats()
        for pool in (self.memory, self.pools[by]):
            pool.restore(path)
            assert pool.digest() == digest
        self.model = self.model.copy()

    # what is read

    @rule(query=problems, newest=st.integers(1, 4), by=st.integers(0, 2))
    def retrieve(self, query: Problem, newest: int, by: int) -> None:
        expected = self.model.retrieved(query, newest)
        for pool in (self.memory, self.pools[by]):
            (hits,) = pool.retrieve([query], k=500, width=50, newest=newest)
            assert by_problem(hit.experience for hit in hits) == expected
            similarities = [hit.similarity for hit in hits]
            assert similarities == sorted(similarities, reverse=True)

    @rule(by=st.integers(0, 2))
    def look_everything_up(self, by: int) -> None:
        pool = self.pools[by]
        ids = [e.id for e in self.model.experiences] + ["unknown"]
        found = pool.get(ids)
        assert [e and e.id for e in found] == [*ids[:-1], None]
        assert found == self.memory.get(ids)
        asked = [*PROBLEMS, VARIANT]
        attempts = by_problem(reversed(self.model.attempts))
        for problem, tries in zip(asked, pool.attempts_of(asked), strict=True):
            assert [a.id for a in tries] == attempts.get(problem.id, [])
            assert tries == self.memory.attempts(problem)
        assert pool.stats() == self.memory.stats()
        assert self.model.counts().items() <= pool.stats().items()
        assert pool.utility() == self.memory.utility()

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "folder"):
            return
        self.turn += 1
        pool = self.pools[self.turn % 3]
        assert len(pool) == len(self.memory) == len(self.model.experiences)
        assert pool.digest() == self.memory.digest()
        for kind in ("experience", "attempt", "exposure", "failure"):
            mine = by_problem(getattr(self.model, f"{kind}s"))
            assert by_problem(self.memory.store.read(kind)) == mine
            assert by_problem(self.file[self.turn % 2].store.read(kind)) == mine


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    one = Helper()
    yield one
    one.stop()


def test_any_history_leaves_every_pool_as_the_model(helper: Helper):
    class WithHelper(Machine):
        pass

    WithHelper.helper = helper
    run_state_machine_as_test(
        WithHelper,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# ---------------------------------------------------------------------- worth


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    history=st.lists(st.lists(experiences(), max_size=12), max_size=5),
    worths=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6),
    capacity=st.integers(1, 4),
)
def test_the_least_worth_go_first_and_the_oldest_of_equals(
    history: list[list[Experience]], worths: list[float], capacity: int
):
    lessons = [Experience(problem=PROBLEMS[0], principles=(text,)).lesson_id for text in "abcdef"]
    worth = dict(zip(lessons, worths, strict=True)).__getitem__
    limits = Limits(capacity=capacity, per_step=None)
    model = Model(limits)
    with tempfile.TemporaryDirectory() as folder:
        stores = [MemoryStore(), SQLiteStore(Path(folder) / "pool.db")]
        for lessons_now in history:
            batch = Batch(experiences=tuple(lessons_now))
            statuses = model.write(batch, worth)
            for store in stores:
                receipts = store.write(batch, limits=limits, worth=worth)
                assert [r.status for r in receipts] == statuses
                assert by_problem(store.read("experience")) == by_problem(model.experiences)
        stores[1].close()


# ---------------------------------------------------------------------- by example


def test_the_same_operations_give_the_same_digest_in_every_backend(helper: Helper, tmp_path: Path):
    limits = Limits(capacity=3, attempts=2)
    pools = [
        open_at("memory:", limits),
        open_at(tmp_path / "here.db", limits),
        Remote(helper, tmp_path / "there.db", limits),
    ]
    lessons = [Experience(problem=p, thoughts=f"lesson {i}") for p in PROBLEMS for i in range(5)]
    for pool in pools:
        receipts = pool.add([*lessons, lessons[4]])
        assert Counter(r.status for r in receipts) == {"added": 15, "evicted": 10, "duplicate": 1}
        pool.write(Batch(attempts=tuple(Attempt(problem=PROBLEMS[0], text=t) for t in "abc")))
        pool.delete([lessons[4].id])
        pool.write(Batch(exposures=(Exposure(problem_id="p", lesson_ids=("l",), guided=(1.0,)),)))
    assert len({pool.digest() for pool in pools}) == 1
    assert [len(pool) for pool in pools] == [14] * 3
    for pool in pools:
        pool.close()


def test_a_restore_longer_than_a_page_of_the_change_log_books_nothing_twice(tmp_path: Path):
    exposed = [Exposure(problem_id="p", lesson_ids=("l",), step=i) for i in range(5500)]
    path = tmp_path / "pool.db"
    with open_pool(path) as pool, open_pool(path) as follower:
        pool.write(Batch(exposures=tuple(exposed)))
        pool.restore(pool.snapshot(tmp_path / "pool.jsonl"))
        with open_pool(path) as fresh:
            assert fresh.utility()["l"].exposures == 5500
            assert pool.utility() == follower.utility() == fresh.utility()


class Flaky(HashingEmbedder):
    """Refuses once."""

    calls = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("the model is down")
        return super().embed(texts)


def test_a_poll_that_failed_half_way_is_made_up_for_by_the_next(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as writer, open_pool(path, embedder=Flaky()) as follower:
        writer.add([Experience(problem=PROBLEMS[0], thoughts="t")])
        with pytest.raises(RuntimeError, match="down"):
            follower.sync()
        assert len(follower) == 1
        assert len(follower.retrieve([PROBLEMS[0]])[0]) == 1


if __name__ == "__main__":
    serve()
