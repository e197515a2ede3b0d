"""Opening and opening again; pools side by side."""

from __future__ import annotations

import pytest

from lanpo_memory.errors import PoolNotFoundError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.base import StoreBase, assert_same, write_both
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, batch_of, lesson
from lanpo_memory.types import Batch, Promise

__all__ = ["PlaceTests"]

NAMES = (
    "run 7",
    "run_7",
    "Run 7",
    "größe 数 🧮",
    "a/b\\c/../d",
    'it\'s "quoted" `x`; -- %s {x}',
    "n" * 200,
    "n" * 199 + "m",
    "数" * 200,
    ".",
    " ",
    "default ",
)
"""Namespaces that a careless encoding would mix up."""


class PlaceTests(StoreBase):
    """`open`, as often as one likes, and namespaces."""

    @proves(Promise.DURABLE)
    def test_everything_is_there_after_reopening(self, store: ExperienceStore, place: str) -> None:
        reference = MemoryStore()
        for n in range(2):
            write_both(store, reference, batch_of(n))
        store.close()
        for n in (2, 3):
            with self.opened(place, create=False) as again:
                assert_same(again, reference)
                write_both(again, reference, batch_of(n)._with(deletions=(lesson(n).id,)))
                write_both(again, reference, batch_of(0))

    def test_without_create_nothing_is_opened_where_nothing_is(self, place: str) -> None:
        try:
            store = self.open(place, create=False)
        except PoolNotFoundError:
            with pytest.raises(PoolNotFoundError):  # and nothing was made by asking
                self.open(place, create=False)
            return
        assert Promise.DURABLE not in store.promises, (
            "nothing is there, `create` is false, and no PoolNotFoundError is raised"
        )
        assert not any(map(store.count, KINDS))
        store.close()

    @proves(Promise.NAMESPACES)
    def test_a_namespace_that_is_not_there_is_not_made_by_asking(
        self, store: ExperienceStore, place: str
    ) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        store.close()
        for _ in range(2):
            with pytest.raises(PoolNotFoundError):
                self.open(place, namespace="nobody", create=False)
        with self.opened(place, create=False) as again:
            assert again.count("experience")

    @proves(Promise.NAMESPACES, Promise.DURABLE)
    def test_namespaces_never_meet(self, store: ExperienceStore, place: str) -> None:
        store.close()
        for n, name in enumerate(NAMES):
            with self.opened(place, namespace=name) as one:
                assert one.namespace == name
                assert not any(map(one.count, KINDS)), f"{name!r} is not empty: it met another"
                # The same ids everywhere, and some of its own.
                one.write(batch_of(0), limits=NO_LIMITS)
                one.write(Batch(experiences=(lesson(1_000 + n),)), limits=NO_LIMITS)
        with self.opened(place, namespace=NAMES[0], create=False) as one:
            if Promise.ATOMIC in one.promises:
                one.write(Batch(replace=True), limits=NO_LIMITS)
            one.write(Batch(deletions=(lesson(0).id,)), limits=NO_LIMITS)
        for n, name in enumerate(NAMES[1:], start=1):
            with self.opened(place, namespace=name, create=False) as one:
                expected = MemoryStore()
                expected.write(batch_of(0), limits=NO_LIMITS)
                expected.write(Batch(experiences=(lesson(1_000 + n),)), limits=NO_LIMITS)
                assert_same(one, expected)
        with self.opened(place) as default:
            assert not any(map(default.count, KINDS)), "the namespace `default` was touched"

    @proves(Promise.NAMESPACES, Promise.CHANGE_LOG, Promise.DURABLE)
    def test_the_log_of_a_namespace_holds_its_own_lines_alone(
        self, store: ExperienceStore, place: str
    ) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        own = store.changes(0).items
        store.close()
        with self.opened(place, namespace="another") as another:
            another.write(batch_of(1), limits=NO_LIMITS)
            wanted = {r.id for kind in KINDS for r in another.read(kind)}
            assert {change.id for change in another.changes(0).items} == wanted
        with self.opened(place) as again:
            assert again.changes(0).items == own
            head = again.changes(0, limit=0).head
            again.write(batch_of(2), limits=NO_LIMITS)
            assert len(again.changes(head).items) == len(batch_of(2)), (
                "lines of other namespaces make a follower miss its own"
            )
