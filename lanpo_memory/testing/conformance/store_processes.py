"""Several processes at one store, and processes that die."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.snapshots import digest_of_store
from lanpo_memory.testing.conformance.base import StoreBase
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, SHARED, batch_of
from lanpo_memory.testing.conformance.worker import ids_of
from lanpo_memory.types import Promise

__all__ = ["ProcessTests"]

WRITERS = 2  # besides the test itself
BATCHES = 4
SEED = 20_25

_log = logging.getLogger(__name__)  # figures: pytest --log-cli-level=INFO shows them


class ProcessTests(StoreBase):
    """Second processes run `lanpo_memory.testing.conformance.worker`."""

    @proves(Promise.READERS)
    def test_another_process_sees_every_acknowledged_write(
        self, store: ExperienceStore, place: str
    ) -> None:
        logged = Promise.CHANGE_LOG in store.promises
        since = 0
        with self.process(place) as reader:
            reader.ask("open")
            for n in range(4):
                store.write(batch_of(n), limits=NO_LIMITS)
                assert reader.ask("ids") == ids_of(store), "a reader does not see what was written"
                assert reader.ask("digest") == digest_of_store(store)
                if logged:
                    items = store.changes(since).items
                    told = reader.ask("changes", since=since)
                    assert told == [list(change) for change in items]
                    since = items[-1].seq

    @proves(Promise.READERS)
    def test_another_process_reads_while_one_writes(
        self, store: ExperienceStore, place: str
    ) -> None:
        size = len(batch_of(0).experiences)
        with self.process(place) as reader:
            reader.ask("open")
            reader.send("watch", until=8 * size)
            for n in range(8):
                store.write(batch_of(n), limits=NO_LIMITS)
            seen = reader.said("watch", reader.line())
        assert seen == sorted(seen), f"a reader saw numbers go back: {seen}"
        assert seen[-1] == 8 * size, f"a reader never saw the last write: {seen}"
        if Promise.ATOMIC in store.promises:
            assert not any(n % size for n in seen), f"a reader saw half a batch: {seen}"

    @proves(Promise.PROCESSES)
    def test_processes_that_write_at_once_lose_nothing(
        self, store: ExperienceStore, place: str
    ) -> None:
        told: Counter[str] = Counter()
        each = max(BATCHES, int(os.environ.get("LANPO_TRIALS", 0)))
        others = [self.process(place) for _ in range(WRITERS)]
        try:
            for other in others:
                other.ask("open")
            started = time.perf_counter()
            for i, other in enumerate(others, start=1):
                other.send("write", first=i * each, count=each, shared=True)
            for n in range(each):
                told.update(f"own {r.status}" for r in store.write(batch_of(n), limits=NO_LIMITS))
                told.update(f"shared {r.status}" for r in store.write(SHARED, limits=NO_LIMITS))
            for other in others:
                told.update(other.said("write", other.line()))
            seconds = time.perf_counter() - started
            batches = (WRITERS + 1) * each
            assert told == {
                "own added": batches * len(batch_of(0)),
                "shared added": len(SHARED),
                "shared duplicate": (batches - 1) * len(SHARED),
            }, "what several processes write is there once, and the receipts add up"
            wanted = {
                kind: {r.id for n in range(batches) for r in getattr(batch_of(n), f"{kind}s")}
                | {r.id for r in getattr(SHARED, f"{kind}s")}
                for kind in KINDS
            }
            held = ids_of(store)
            assert {kind: set(ids) for kind, ids in held.items()} == wanted
            assert [len(ids) for ids in held.values()] == [len(ids) for ids in wanted.values()]
            for other in others:
                assert other.ask("ids") == held, "processes do not agree about the order"
            _log.info(
                "%d processes, %d batches of their own of %d records and as many of one of %d: all "
                "there once, %.2f s",
                WRITERS + 1,
                batches,
                len(batch_of(0)),
                len(SHARED),
                seconds,
            )
        finally:
            for other in others:
                other.__exit__()

    @proves(Promise.DURABLE)
    def test_what_was_acknowledged_survives_kill_9(
        self, store: ExperienceStore, place: str
    ) -> None:
        """Killed at several moments, within a batch and between two; ``LANPO_TRIALS`` times."""
        atomic, logged = (p in store.promises for p in (Promise.ATOMIC, Promise.CHANGE_LOG))
        store.close()
        rng, moment, first = random.Random(SEED), threading.Event(), 0
        kills, heard, unheard = int(os.environ.get("LANPO_TRIALS", self.TRIALS)), 0, 0
        for _ in range(kills):
            acknowledged = self._killed(place, first, rng.randint(1, 5), rng, moment)
            with self.opened(place, create=False) as again:
                held = ids_of(again)
                whole = _whole(held, acknowledged + 2)
                assert whole >= acknowledged + 1, (
                    f"batch {whole} was acknowledged, the process was killed, and it is not there"
                )
                if atomic:
                    _nothing_else(held, whole)
                if logged:
                    log = again.changes(0).items
                    added = Counter(c.id for c in log if c.kind == "experience")
                    assert set(added) == set(held["experience"]), "log and records differ"
                    assert set(added.values()) == {1}, "a line came twice"
            heard, unheard = heard + acknowledged + 1 - first, unheard + whole - acknowledged - 1
            # A batch that was cut off is written again by the next: its records come once.
            first = whole
        _log.info(
            "%d kills: %d batches of %d records acknowledged, none lost; %d more found whole",
            kills,
            heard,
            len(batch_of(0)),
            unheard,
        )
        with self.process(place) as next_one:
            told = next_one.answer("write", first=first, count=1)
            if told.get("error") != "PoolBusyError":  # of a lease that still runs
                next_one.said("write", told)

    def _killed(
        self, place: str, first: int, acks: int, rng: random.Random, moment: threading.Event
    ) -> int:
        """Let a process write, kill it after so many answers; the last acknowledged batch."""
        with self.process(place) as writer:
            writer.send("write_on", first=first, patience_s=self.PATIENCE_S)
            last = first - 1
            for _ in range(acks):
                last = writer.said("write_on", writer.line())
            moment.wait(rng.uniform(0.0, 0.02))  # somewhere in the next batch
            unread = [answer["said"] for answer in writer.kill()]
        return unread[-1] if unread else last


def _whole(held: dict[str, list[str]], most: int) -> int:
    """How many batches, from the first, are there with all their records."""
    sets = {kind: set(ids) for kind, ids in held.items()}
    for n in range(most):
        if not all(sets[kind].issuperset(_ids(n, kind)) for kind in KINDS):
            return n
    return most


def _nothing_else(held: dict[str, list[str]], whole: int) -> None:
    for kind in KINDS:
        wanted = [record_id for n in range(whole) for record_id in _ids(n, kind)]
        if held[kind] != wanted:
            pytest.fail(
                f"{len(held[kind])} records of kind {kind} are there, {len(wanted)} in whole "
                "batches: half a batch, or another order, although ATOMIC is promised"
            )


def _ids(n: int, kind: str) -> list[Any]:
    return [record.id for record in getattr(batch_of(n), f"{kind}s")]
