"""What all parts of the store's conformance kit share: how a store is opened, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.snapshots import digest_of_store
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.processes import Process
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS
from lanpo_memory.types import Batch, Limits, Promise, Receipt

__all__ = ["StoreBase", "assert_same", "exact", "statuses", "write_both"]


class StoreBase:
    """How a store is opened. Subclasses say `open`, and `place` where a path is not enough.

    `NAME` stands in the table of capabilities. `TRIALS` is how often a process is killed,
    `PATIENCE_S` how long a writer may be refused because the lease of one that was killed still
    runs, `EXAMPLES` how many random histories are tried; the variables ``LANPO_TRIALS`` and
    ``LANPO_EXAMPLES`` overrule them. Where writing is slow, `SHRINKS` may be false: a history that
    fails is then shown as it was found, not the shortest that does.
    """

    NAME: ClassVar[str] = ""
    TRIALS: ClassVar[int] = 3
    PATIENCE_S: ClassVar[float] = 60.0
    EXAMPLES: ClassVar[int] = 25
    SHRINKS: ClassVar[bool] = True

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        """Open the store at a place; the same place again is the same store."""
        raise NotImplementedError(f"{type(self).__name__} has to say how its store is opened")

    def another(self, place: str, number: int) -> str:
        """A second place, where nothing is. Asked only of stores without namespaces."""
        return f"{place}-{number}"

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        """Where a test has its store: nothing is there yet."""
        return str(tmp_path / "pool")

    @pytest.fixture
    def store(self, place: str, request: pytest.FixtureRequest) -> Iterator[ExperienceStore]:
        """The store of a test, new and empty."""
        with self.opened(place) as store:
            request.node.user_properties.append(("promises", sorted(map(str, store.promises))))
            yield store

    @contextmanager
    def opened(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> Iterator[ExperienceStore]:
        """A store that is closed again."""
        store = self.open(place, namespace=namespace, create=create)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def follower(self, store: ExperienceStore, place: str) -> Iterator[ExperienceStore]:
        """A second view of what is written to `store`: another object, where that is promised."""
        if Promise.READERS in store.promises:
            with self.opened(place, create=False) as other:
                yield other
        else:
            yield store

    def process(self, place: str) -> Process:
        """A second process."""
        return Process(self, place)


def exact(record: BaseModel) -> str:
    """A record with everything that equality overlooks: -0.0, and 1 next to 1.0 and true."""
    return json.dumps(record.model_dump(mode="python"), sort_keys=True)


def statuses(receipts: Sequence[Receipt]) -> list[str]:
    """The statuses alone."""
    return [receipt.status for receipt in receipts]


def write_both(
    store: ExperienceStore,
    reference: MemoryStore,
    batch: Batch,
    *,
    limits: Limits = NO_LIMITS,
    **options: Any,
) -> list[Receipt]:
    """Write to the store and to the reference; both have to say the same of each candidate."""
    told = store.write(batch, limits=limits, **options)
    expected = reference.write(batch, limits=limits, **options)
    found = [(r.status, r.id) for r in told]
    wanted = [(r.status, r.id) for r in expected]
    assert len(found) == len(wanted), (
        f"{len(batch)} candidates got {len(found)} receipts: each gets exactly one "
        "(ExperienceStore.write)"
    )
    assert found == wanted, (
        "receipts differ from what the documentation says: they come in the order of Batch's "
        "fields, with the statuses of `Receipt`"
    )
    return told


def assert_same(store: ExperienceStore, reference: ExperienceStore) -> None:
    """Two stores hold the same records, in the same order, with the same digest."""
    for kind in KINDS:
        mine: list[Any] = store.read(kind)
        theirs: list[Any] = reference.read(kind)
        assert [r.id for r in mine] == [r.id for r in theirs], (
            f"{kind}: `read` returns other records than were written, or not oldest first"
        )
        assert list(map(exact, mine)) == list(map(exact, theirs)), (
            f"{kind}: a record came back changed"
        )
        assert list(store.scan(kind)) == mine, f"{kind}: `scan` and `read` disagree"
        assert store.count(kind) == len(mine), f"{kind}: `count` is not the number of records"
    mine_P, theirs_P = store.read("problem"), reference.read("problem")
    assert list(map(exact, mine_P)) == list(map(exact, theirs_P)), (
        "kind `problem` returns the problems that hold an experience, as they were first told, in "
        "the order in which they came"
    )
    assert store.count("problem") == len(mine_P), "`count` of problems is not their number"
    assert digest_of_store(store) == digest_of_store(reference), "the digests differ"
