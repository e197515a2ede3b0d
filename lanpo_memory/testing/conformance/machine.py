"""Any history of operations leaves a store as the model, and as the store in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.base import StoreBase, assert_same
from lanpo_memory.testing.conformance.model import Model, by_problem
from lanpo_memory.testing.conformance.samples import KINDS
from lanpo_memory.testing.conformance.store_log import replay
from lanpo_memory.testing.conformance.strategies import (
    PROBLEMS,
    batches,
    experiences,
    limits,
    problems,
    steps,
)
from lanpo_memory.types import Batch, Experience, ExperienceMetadata, Limits, Promise

__all__ = ["HistoryTests"]

LESSONS = "abcdef"
WORTHS = {
    Experience(problem=PROBLEMS[0], principles=(text,)).lesson_id: i % 3 / 2
    for i, text in enumerate(LESSONS)
}


class History(RuleBasedStateMachine):
    """The model, the store in memory, and a store under test that comes and goes.

    Each history has a place of its own: a namespace, or else another address.
    """

    kit: StoreBase
    place: str
    promises: frozenset[Promise]
    number = 0

    @initialize(limits=limits)
    def open_all(self, limits: Limits) -> None:
        type(self).number += 1
        self.model, self.reference = Model(limits), MemoryStore()
        self.cached: dict[str, bytes] = {}
        self.held: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self.since = 0
        self.store = self._opened()
        # Another object, which stays open: it must not go stale.
        self.reader = self._opened() if self._has(Promise.READERS) else None

    def _opened(self) -> ExperienceStore:
        number = type(self).number
        if Promise.NAMESPACES in self.promises:
            return self.kit.open(self.place, namespace=f"history {number}")
        return self.kit.open(self.kit.another(self.place, number))

    def _has(self, promise: Promise) -> bool:
        return promise in self.promises

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            if self.reader is not None:
                self.reader.close()

    # what is written

    @rule(batch=batches, deletions=st.lists(st.integers(0, 40), max_size=3))
    def write(self, batch: Batch, deletions: list[int]) -> None:
        new: list[Any] = [*batch.experiences, *batch.failures]
        known = [r.id for r in [*self.model.failures, *self.model.experiences, *new]]
        gone = tuple(known[i] if i < len(known) else f"unknown {i}" for i in deletions)
        self._write(batch._with(deletions=gone))

    @rule(
        problem=st.sampled_from(PROBLEMS),
        lessons=st.lists(st.sampled_from("abcdefghijkl"), min_size=4, max_size=12),
        step=steps,
    )
    def crowd(self, problem: Any, lessons: list[str], step: int) -> None:
        metadata = ExperienceMetadata(step=step)
        crowd = (Experience(problem=problem, thoughts=t, metadata=metadata) for t in lessons)
        self._write(Batch(experiences=tuple(crowd)))

    @rule(lessons=st.lists(experiences(), min_size=1, max_size=8))
    def write_with_worths(self, lessons: list[Experience]) -> None:
        self._write(Batch(experiences=tuple(lessons)), worth=lambda i: WORTHS.get(i, 0.25))

    @precondition(lambda self: self.model.experiences)
    @rule(pick=st.integers(0, 100))
    def empty_a_problem(self, pick: int) -> None:
        problem = self.model.experiences[pick % len(self.model.experiences)].problem.id
        ids = [e.id for e in self.model.experiences if e.problem.id == problem]
        self._write(Batch(deletions=(*ids, ids[0])))

    @precondition(lambda self: self._has(Promise.ATOMIC))
    @rule(batch=batches)
    def replace(self, batch: Batch) -> None:
        self._write(batch._with(replace=True))

    def _write(self, batch: Batch, worth: Callable[[str], float] | None = None) -> None:
        expected = self.model.write(batch, *([] if worth is None else [worth]))
        records: list[Any] = [*batch.experiences, *batch.attempts]
        records += [*batch.exposures, *batch.failures]
        ids = [*(r.id for r in records), *batch.deletions]
        for store in (self.reference, self.store):
            told = store.write(batch, limits=self.model.limits, worth=worth)
            assert [(r.status, r.id) for r in told] == list(zip(expected, ids, strict=True))

    # what is read

    @precondition(lambda self: self._has(Promise.DURABLE))
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self._opened()

    @rule(
        kind=st.sampled_from([*KINDS, "problem"]),
        picked=st.none() | st.lists(st.integers(0, 30), max_size=6),
        asked=st.none() | st.lists(problems, max_size=3),
        newest=st.none() | st.integers(1, 3),
    )
    def select(self, kind: Any, picked: Any, asked: Any, newest: Any) -> None:
        held = self.reference.read(kind)
        options: dict[str, Any] = {
            "ids": picked and [held[i].id if i < len(held) else f"unknown {i}" for i in picked],
            "problems": None if kind == "problem" else asked and [p.id for p in asked],
            "newest": None if kind == "problem" else newest,
        }
        found = self.store.read(kind, **options)
        assert found == self.reference.read(kind, **options), f"read({kind!r}, **{options})"

    @precondition(lambda self: self._has(Promise.CHANGE_LOG))
    @rule(limit=st.sampled_from([1, 3, 10_000]))
    def follow(self, limit: int) -> None:
        """A follower that comes by now and then sees each line once."""
        follower = self.reader or self.store
        while items := follower.changes(self.since, limit=limit).items:
            replay(self.held, items)
            self.since = items[-1].seq
        for kind in KINDS:
            assert list(self.held[kind]) == [r.id for r in self.reference.read(kind)]

    @precondition(lambda self: self._has(Promise.CACHE))
    @rule(entries=st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=3)), max_size=4))
    def cache(self, entries: list[tuple[str, bytes]]) -> None:
        # Namespaces may share a cache, so keys carry the number of the history.
        named = [(f"{type(self).number} {key}", value) for key, value in entries]
        self.store.cache(named)
        self.cached.update(named)
        keys = [f"{type(self).number} {key}" for key in "abc"]
        assert self.store.cached(keys) == [self.cached.get(key) for key in keys]

    @precondition(lambda self: self._has(Promise.READERS))
    @rule()
    def readers_agree(self) -> None:
        """One that was there all along, and one that comes now."""
        assert self.reader is not None
        assert_same(self.reader, self.reference)
        newcomer = self._opened()
        try:
            assert_same(newcomer, self.reference)
        finally:
            newcomer.close()

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        assert_same(self.store, self.reference)
        for kind in KINDS:
            mine = by_problem(getattr(self.model, f"{kind}s"))
            assert by_problem(self.store.read(kind)) == mine


class HistoryTests(StoreBase):
    """Random histories; when one fails, hypothesis shows the shortest that does."""

    def test_any_history_leaves_the_store_as_the_model(
        self, store: ExperienceStore, place: str
    ) -> None:
        made = {"kit": self, "place": place, "promises": store.promises}
        store.close()
        run_state_machine_as_test(
            type("StoreHistory", (History,), made),
            settings=settings(
                max_examples=int(os.environ.get("LANPO_EXAMPLES", self.EXAMPLES)),
                stateful_step_count=12,
                deadline=None,
                phases=[p for p in Phase if self.SHRINKS or p is not Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
