"""One store in several threads, and reading while others write."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.testing.conformance.base import StoreBase, statuses
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, SHARED, batch_of, lesson
from lanpo_memory.testing.conformance.worker import ids_of
from lanpo_memory.types import Batch, Exposure, Promise

__all__ = ["ThreadTests"]

WRITERS = 3
BATCHES = 4
BLOCKED_S = 0.2  # how long a writer gets to show that it is not held up by a view


class ThreadTests(StoreBase):
    """A store is used from several threads without a word. `MANY` is more than a page of a scan."""

    MANY: ClassVar[int] = 1_200

    def test_threads_that_write_and_read_at_once_lose_nothing(self, store: ExperienceStore) -> None:
        start, done = threading.Barrier(WRITERS + 1), threading.Event()

        def write(writer: int) -> Counter[str]:
            start.wait()
            counted: Counter[str] = Counter()
            for n in range(writer * BATCHES, (writer + 1) * BATCHES):
                counted.update(statuses(store.write(batch_of(n), limits=NO_LIMITS)))
                told = statuses(store.write(SHARED, limits=NO_LIMITS))
                counted.update(f"shared {status}" for status in told)
            return counted

        def read() -> None:
            start.wait()
            while not done.is_set():
                found = store.read("experience")
                assert len({e.id for e in found}) == len(found), "a reader saw a record twice"

        with ThreadPoolExecutor(WRITERS + 1) as threads:
            reader = threads.submit(read)
            try:
                told = sum(threads.map(write, range(WRITERS)), Counter[str]())
            finally:
                done.set()
            reader.result()
        size, shared = len(batch_of(0)), len(SHARED)
        assert told == {
            "added": WRITERS * BATCHES * size,
            "shared added": shared,
            "shared duplicate": (WRITERS * BATCHES - 1) * shared,
        }, "what several threads write is there once, and the receipts add up"
        wanted = {r.id for n in range(WRITERS * BATCHES) for r in batch_of(n).experiences}
        assert {e.id for e in store.read("experience")} == wanted | {
            e.id for e in SHARED.experiences
        }
        assert store.count("experience") == len(wanted) + shared

    @proves(Promise.CACHE)
    def test_threads_share_the_cache(self, store: ExperienceStore, place: str) -> None:
        def work(writer: int) -> None:
            for n in range(BATCHES):
                key = f"{writer} {n}"
                store.cache([(key, key.encode()), ("shared", b"s")])
                assert store.cached([key, "shared"]) == [key.encode(), b"s"]

        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(work, range(WRITERS)))
        keys = [f"{writer} {n}" for writer in range(WRITERS) for n in range(BATCHES)]
        assert store.cached(keys) == [key.encode() for key in keys]

    def test_a_view_is_one_moment(self, store: ExperienceStore) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        self._unmoved(store, lambda: store.write(batch_of(1), limits=NO_LIMITS))
        assert store.count("experience") == 2 * len(batch_of(0).experiences)

    @proves(Promise.READERS)
    def test_a_view_of_a_reader_is_one_moment(self, store: ExperienceStore, place: str) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        with self.follower(store, place) as reader:
            self._unmoved(reader, lambda: store.write(batch_of(1), limits=NO_LIMITS))
            assert reader.count("experience") == 2 * len(batch_of(0).experiences)

    def _unmoved(self, store: ExperienceStore, write: Callable[[], object]) -> None:
        """A write that begins within a view waits, or is not seen; after it, it is."""
        begin, written = threading.Event(), threading.Event()

        def writer() -> None:
            begin.wait()
            write()
            written.set()

        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(writer)
            try:
                with store.view():
                    before = ids_of(store)
                    begin.set()
                    written.wait(BLOCKED_S)
                    assert ids_of(store) == before, "within `view` the store has moved"
                    counts = {kind: store.count(kind) for kind in KINDS}
                    assert counts == {kind: len(ids) for kind, ids in before.items()}, (
                        "within `view`, `count` and `read` are of different moments"
                    )
            finally:
                begin.set()
            result.result()
        assert ids_of(store) != before, "what was written during a view is not seen after it"

    def test_views_nest(self, store: ExperienceStore) -> None:
        with store.view():
            with store.view():
                assert store.count("experience") == 0
            assert store.count("experience") == 0
        store.write(batch_of(0), limits=NO_LIMITS)
        assert store.count("experience")

    def test_a_scan_goes_on_while_others_write(self, store: ExperienceStore) -> None:
        many = tuple(Exposure(problem_id="p", lesson_ids=("l",), step=n) for n in range(self.MANY))
        store.write(Batch(exposures=many), limits=NO_LIMITS)
        scan = store.scan("exposure")
        seen = [next(scan).id]
        store.write(batch_of(1), limits=NO_LIMITS)
        seen += [record.id for record in scan]
        held = [record.id for record in many]
        assert seen[: len(held)] == held, "a scan lost or repeated what was there when it began"
        assert len(set(seen)) == len(seen)

    def test_a_scan_that_is_left_early_holds_nothing_up(self, store: ExperienceStore) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        next(iter(store.scan("experience", newest_first=True)))
        store.write(Batch(experiences=(lesson(500),)), limits=NO_LIMITS)
        assert next(iter(store.scan("experience", newest_first=True))).id == lesson(500).id
