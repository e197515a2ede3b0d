"""The change log: what happened, in which order, so that others can follow."""

from __future__ import annotations

from collections.abc import Iterable

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.base import StoreBase
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, batch_of, lesson
from lanpo_memory.types import Batch, Change, Limits, Promise

__all__ = ["LogTests", "replay"]

TIGHT = Limits(capacity=4, per_step=None, attempts=2, failures=4)


def replay(held: dict[str, dict[str, str]], changes: Iterable[Change]) -> None:
    """Apply a piece of the log to ids by kind, oldest first; each with its problem's id."""
    for change in changes:
        ids = held[change.kind]
        if change.op == "add":
            assert change.id not in ids, f"{change} adds what is there: a line came twice"
            ids[change.id] = change.problem_id
        else:
            assert ids.pop(change.id, None) == change.problem_id, (
                f"{change} takes away what is not there: a line is missing, or came twice"
            )


def _agree(store: ExperienceStore, held: dict[str, dict[str, str]]) -> None:
    for kind in KINDS:
        ids = [r.id for r in store.read(kind)]
        assert list(held[kind]) == ids, (
            f"{kind}: the change log, replayed, does not give what is stored (changes)"
        )


def _history(store: ExperienceStore) -> None:
    """Additions, duplicates, evictions, deletions; what is deleted comes back."""
    for n in range(4):
        store.write(batch_of(n), limits=TIGHT)
        gone = [e.id for e in store.read("experience")[:2]]
        store.write(Batch(deletions=(*gone, "unknown")), limits=TIGHT)
        store.write(batch_of(n), limits=TIGHT)


class LogTests(StoreBase):
    """`changes`, within one process."""

    @proves(Promise.CHANGE_LOG)
    def test_the_log_replayed_gives_what_is_stored(
        self, store: ExperienceStore, place: str
    ) -> None:
        assert store.changes(0).items == ()
        _history(store)
        held: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        items, head = store.changes(0)
        replay(held, items)
        _agree(store, held)
        numbers = [change.seq for change in items]
        assert numbers == sorted(set(numbers)), "numbers of lines rise"
        assert numbers[0] > 0, "the first line comes after line 0"
        assert numbers[-1] <= head, "`head` is the number of the newest line"

    @proves(Promise.CHANGE_LOG)
    def test_the_log_says_what_the_reference_says_kind_by_kind(
        self, store: ExperienceStore, place: str
    ) -> None:
        reference = MemoryStore()
        for one in (store, reference):
            _history(one)
        for kind in KINDS:
            for op in ("add", "evict", "delete"):
                told, wanted = (
                    [(c.id, c.problem_id) for c in one.changes(0).items if c[1:3] == (op, kind)]
                    for one in (store, reference)
                )
                assert sorted(told) == sorted(wanted), f"{op} {kind}: other lines than expected"

    @proves(Promise.CHANGE_LOG)
    def test_the_log_comes_in_pieces_of_any_size(self, store: ExperienceStore, place: str) -> None:
        _history(store)
        whole = store.changes(0).items
        for limit in (1, 7, len(whole), 10_000):
            pieces: list[Change] = []
            since = 0
            while items := store.changes(since, limit=limit).items:
                assert len(items) <= limit
                pieces += items
                since = items[-1].seq
            assert tuple(pieces) == whole, f"pieces of {limit} lines are not the whole log"

    @proves(Promise.CHANGE_LOG)
    def test_a_limit_of_zero_tells_the_newest_line_alone(
        self, store: ExperienceStore, place: str
    ) -> None:
        assert store.changes(0, limit=0).items == ()
        _history(store)
        items, head = store.changes(0, limit=0)
        assert items == ()
        assert store.changes(head).items == (), "nothing comes after the newest line"
        store.write(Batch(experiences=(lesson(500),)), limits=NO_LIMITS)
        assert [c.id for c in store.changes(head).items] == [lesson(500).id], (
            "what is written later comes after the `head` told before"
        )

    @proves(Promise.CHANGE_LOG)
    def test_beyond_the_end_there_is_nothing(self, store: ExperienceStore, place: str) -> None:
        _history(store)
        head = store.changes(0, limit=0).head
        assert store.changes(head + 1_000) == ((), head), "no items, and the true `head`"
        assert store.changes(-1).items == store.changes(0).items

    @proves(Promise.CHANGE_LOG)
    def test_what_changes_nothing_is_not_in_the_log(
        self, store: ExperienceStore, place: str
    ) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        before = store.changes(0).items
        store.write(batch_of(0)._with(deletions=("unknown",)), limits=NO_LIMITS)
        assert store.changes(0).items == before, "a duplicate or a rejection was logged"

    @proves(Promise.CHANGE_LOG, Promise.ATOMIC)
    def test_replace_is_logged_as_deletions_and_additions(
        self, store: ExperienceStore, place: str
    ) -> None:
        _history(store)
        store.write(batch_of(9)._with(replace=True), limits=NO_LIMITS)
        held: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        replay(held, store.changes(0).items)
        _agree(store, held)

    @proves(Promise.CHANGE_LOG, Promise.DURABLE)
    def test_the_log_goes_on_where_it_was_after_reopening(
        self, store: ExperienceStore, place: str
    ) -> None:
        _history(store)
        before = store.changes(0)
        store.close()
        with self.opened(place) as again:
            assert again.changes(0) == before, "the log of a reopened store is another one"
            again.write(Batch(experiences=(lesson(500),)), limits=NO_LIMITS)
            assert [c.id for c in again.changes(before.head).items] == [lesson(500).id], (
                "numbers are never used twice: what comes later has a higher one"
            )

    @proves(Promise.CHANGE_LOG)
    def test_a_follower_sees_everything_exactly_once(
        self, store: ExperienceStore, place: str
    ) -> None:
        held: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        since = 0
        with self.follower(store, place) as follower:
            for n in range(6):
                store.write(batch_of(n), limits=TIGHT)
                store.write(Batch(deletions=(lesson(3 * n, 1).id,)), limits=TIGHT)
                while items := follower.changes(since, limit=17).items:
                    replay(held, items)
                    since = items[-1].seq
                _agree(follower, held)
                _agree(store, held)
