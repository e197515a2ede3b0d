"""Capacity and eviction: what is pushed out, when, and what the receipts say of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.base import StoreBase, assert_same, statuses, write_both
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, attempt, batch_of, lesson
from lanpo_memory.types import Batch, FailedAnswer, Limits, Promise

__all__ = ["LimitTests"]


class Refused(RuntimeError):
    """What a `worth` of the tests raises."""


def _worths(*worths: float) -> Callable[[str], float]:
    """What lessons 0, 1, 2, ... are worth."""
    return {lesson(n).lesson_id: worth for n, worth in enumerate(worths)}.__getitem__


def _failure(n: int) -> FailedAnswer:
    return FailedAnswer(role="kit", problem_id=f"p{n % 2}", text="?", reason="no", step=n)


def _ids(store: ExperienceStore) -> list[str]:
    return [e.id for e in store.read("experience")]


class LimitTests(StoreBase):
    """Each test says what `Limits` and `ExperienceStore.write` say."""

    def test_over_capacity_the_oldest_of_a_problem_go(self, store: ExperienceStore) -> None:
        reference, limits = MemoryStore(), Limits(capacity=3, per_step=None)
        for n in range(4):
            lessons = tuple(lesson(2 * n + i, of) for i in range(2) for of in range(2))
            write_both(store, reference, Batch(experiences=lessons), limits=limits)
            assert_same(store, reference)
        wanted = [lesson(n, of).id for n in (5, 6, 7) for of in range(2)]
        assert sorted(_ids(store)) == sorted(wanted)

    def test_what_is_pushed_out_in_its_own_batch_is_receipted_as_evicted(
        self, store: ExperienceStore
    ) -> None:
        reference, limits = MemoryStore(), Limits(capacity=2, per_step=None)
        write_both(store, reference, Batch(experiences=(lesson(0),)), limits=limits)
        crowd = Batch(experiences=tuple(lesson(n) for n in (1, 2, 1, 3, 4)))
        told = write_both(store, reference, crowd, limits=limits)
        assert statuses(told) == ["evicted", "evicted", "duplicate", "added", "added"]
        assert told[0].reason, "an eviction says why"
        assert_same(store, reference)

    def test_a_smaller_capacity_holds_for_problems_that_are_written_to(
        self, store: ExperienceStore
    ) -> None:
        reference = MemoryStore()
        write_both(store, reference, batch_of(0))
        add = Batch(experiences=(lesson(50, 1),))
        write_both(store, reference, add, limits=Limits(capacity=1, per_step=None))
        assert_same(store, reference)

    def test_what_is_worth_least_goes_first_and_the_oldest_of_equals(
        self, store: ExperienceStore
    ) -> None:
        reference, limits = MemoryStore(), Limits(capacity=3, per_step=None)
        worth = _worths(0.5, 0.9, 0.1, 0.5, 0.5, 0.0, 1.0)
        write_both(store, reference, Batch(experiences=tuple(map(lesson, range(3)))), limits=limits)
        for n in (3, 4, 5, 6):
            batch = Batch(experiences=(lesson(n),))
            told = write_both(store, reference, batch, limits=limits, worth=worth)
            # Lesson 5 is worth nothing: it is stored, and pushed out in the same batch.
            assert statuses(told) == ["evicted" if n == 5 else "added"]
        assert _ids(store) == [lesson(n).id for n in (1, 4, 6)]
        assert_same(store, reference)

    @proves(Promise.ATOMIC)
    def test_a_worth_that_raises_leaves_nothing_behind(
        self, store: ExperienceStore, place: str
    ) -> None:
        reference, limits = MemoryStore(), Limits(capacity=2, per_step=None)
        write_both(store, reference, Batch(experiences=(lesson(0), lesson(1))), limits=limits)

        def raising(lesson_id: str) -> float:
            if lesson_id == lesson(3).lesson_id:
                raise Refused
            return 0.5

        more = batch_of(7)._with(
            experiences=(lesson(2), *batch_of(7).experiences, lesson(3), lesson(4, 1))
        )
        for batch in (more, more._with(replace=True)):
            with pytest.raises(Refused):
                store.write(batch, limits=limits, worth=raising)
            assert_same(store, reference)
        if Promise.CHANGE_LOG in store.promises:
            added = [change.id for change in store.changes(0).items]
            assert added == [lesson(0).id, lesson(1).id], "what was undone stands in the log"
        write_both(store, reference, more, limits=limits)
        assert_same(store, reference)

    def test_new_experiences_of_a_step_are_limited_among_those_that_are_held(
        self, store: ExperienceStore
    ) -> None:
        reference, limits = MemoryStore(), Limits(capacity=None, per_step=2)
        lessons = tuple(lesson(n, of=n % 2, step=n // 6) for n in range(12))
        told = write_both(store, reference, Batch(experiences=lessons), limits=limits)
        assert statuses(told).count("rejected") == 4
        assert all(r.reason for r in told if r.status == "rejected"), "a rejection says why"
        assert_same(store, reference)
        later = Batch(experiences=(lesson(20),), deletions=(lesson(0).id,))
        assert statuses(write_both(store, reference, later, limits=limits)) == [
            "rejected",
            "added",
        ]
        assert statuses(write_both(store, reference, later, limits=limits)) == [
            "added",
            "rejected",
        ], "what was deleted no longer counts"
        assert_same(store, reference)

    def test_attempts_are_limited_per_problem(self, store: ExperienceStore) -> None:
        reference, limits = MemoryStore(), Limits(attempts=2)
        for n in range(3):
            tries = tuple(attempt(3 * n + i, of) for i in range(3) for of in range(2))
            told = write_both(store, reference, Batch(attempts=tries), limits=limits)
            assert statuses(told) == ["evicted", "evicted", "added", "added", "added", "added"]
            assert_same(store, reference)

    def test_failed_answers_are_limited_in_the_whole_pool(self, store: ExperienceStore) -> None:
        reference, limits = MemoryStore(), Limits(failures=3)
        for first, count in ((0, 2), (2, 3), (5, 6)):
            failed = tuple(_failure(n) for n in range(first, first + count))
            write_both(store, reference, Batch(failures=failed), limits=limits)
            assert_same(store, reference)
        assert [f.step for f in store.read("failure")] == [8, 9, 10]

    def test_no_limit_keeps_everything(self, store: ExperienceStore) -> None:
        reference = MemoryStore()
        many = Batch(experiences=tuple(map(lesson, range(100))), attempts=batch_of(0).attempts)
        assert set(statuses(write_both(store, reference, many))) == {"added"}
        assert_same(store, reference)
        assert store.count("experience") == 100
        assert all(len(store.read(kind, newest=1)) <= 6 for kind in KINDS)
        store.write(Batch(), limits=NO_LIMITS)
