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
from collections.abc import Callable, Iterator, Sequence
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
from lanpo_memory.testing.conformance.model import Model, by_problem
from lanpo_memory.testing.conformance.strategies import (
    PROBLEMS,
    VARIANT,
    batches,
    experiences,
    limits,
    problems,
    steps,
)

EXAMPLES = int(os.environ.get("LANPO_EXAMPLES", "60"))


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
