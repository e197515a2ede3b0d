"""The conformance kit of stores."""

from __future__ import annotations

from lanpo_memory.testing.conformance.machine import HistoryTests
from lanpo_memory.testing.conformance.store_cache import CacheTests
from lanpo_memory.testing.conformance.store_limits import LimitTests
from lanpo_memory.testing.conformance.store_log import LogTests
from lanpo_memory.testing.conformance.store_places import PlaceTests
from lanpo_memory.testing.conformance.store_processes import ProcessTests
from lanpo_memory.testing.conformance.store_records import RecordTests
from lanpo_memory.testing.conformance.store_threads import ThreadTests

__all__ = ["StoreConformance"]


class StoreConformance(
    RecordTests,
    LimitTests,
    LogTests,
    CacheTests,
    PlaceTests,
    ThreadTests,
    ProcessTests,
    HistoryTests,
):
    """All that `ExperienceStore` says, as tests; subclass it and say how your store is opened.

    What the store's `promises` declare is tested, what they do not is checked to be refused. The
    subclass has to stand at the top of a test file: second processes load it from there.

    Override the fixture `place` to give an address that is no path; it has to be empty for each
    test. Class attributes say how long the slow tests take: see `StoreBase`.

    >>> from lanpo_memory.protocols import ExperienceStore
    >>> from lanpo_memory.stores import SQLiteStore
    >>> class TestSQLite(StoreConformance):
    ...     def open(
    ...         self, place: str, *, namespace: str = "default", create: bool = True
    ...     ) -> ExperienceStore:
    ...         return SQLiteStore(place, namespace=namespace, create=create)
    """
