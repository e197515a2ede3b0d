"""The second process of the conformance kit: it opens a store of the test's class, and obeys.

``python -m lanpo_memory.testing.conformance.worker FILE CLASS PLACE`` loads the test file by its
path, makes an instance of the class, and then answers one line of JSON with one line of JSON. So
nothing has to be picklable, and a class may be defined in any test file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, TextIO

from lanpo_memory.errors import LanpoError, PoolBusyError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.snapshots import digest_of_store
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, SHARED, batch_of
from lanpo_memory.types import Batch, Receipt

__all__ = ["ids_of"]


def ids_of(store: ExperienceStore) -> dict[str, list[str]]:
    """The ids of all records by kind, oldest first, read at one moment."""
    with store.view():
        return {kind: [r.id for r in store.scan(kind)] for kind in KINDS}


class Worker:
    """Does to its store what it is told. Each public method is a command."""

    def __init__(self, kit: Any, place: str) -> None:
        self._kit, self._place = kit, place
        self._opened: ExperienceStore | None = None

    @property
    def _store(self) -> ExperienceStore:
        if self._opened is None:
            self._opened = self._kit.open(self._place)
        assert self._opened is not None
        return self._opened

    def open(self) -> list[str]:
        """Open the store, which has to be there already."""
        self._opened = self._kit.open(self._place, create=False)
        return sorted(self._opened.promises)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def counts(self) -> dict[str, int]:
        """How many records of each kind there are."""
        return {kind: self._store.count(kind) for kind in KINDS}

    def digest(self) -> str:
        """The digest of the store."""
        return digest_of_store(self._store)

    def ids(self) -> dict[str, list[str]]:
        """All ids."""
        return ids_of(self._store)

    def changes(self, since: int) -> list[Any]:
        """The change log after a line."""
        return [*self._store.changes(since).items]

    def write(self, first: int, count: int, *, shared: bool = False) -> dict[str, int]:
        """Write batches; with `shared`, between any two the one that others write, too."""
        statuses: Counter[str] = Counter()
        for n in range(first, first + count):
            statuses.update(f"own {r.status}" for r in self._write(batch_of(n), 0.0))
            if shared:
                statuses.update(f"shared {r.status}" for r in self._write(SHARED, 0.0))
        return statuses

    def write_on(self, first: int, patience_s: float) -> Iterator[int]:
        """Write batches until killed; tell the number of each one that was acknowledged."""
        for n in range(first, first + 10_000):
            self._write(batch_of(n), patience_s)
            yield n

    def watch(self, until: int) -> list[int]:
        """Read all the time, until so many experiences are there; all numbers that were seen."""
        seen: list[int] = []
        end = time.monotonic() + 120
        while (not seen or seen[-1] < until) and time.monotonic() < end:
            found = len(self._store.read("experience"))
            if not seen or seen[-1] != found:
                seen.append(found)
        return seen

    def _write(self, batch: Batch, patience_s: float) -> list[Receipt]:
        """Write; a lease of a writer that was killed may first have to expire."""
        end = time.monotonic() + patience_s
        while True:
            try:
                return self._store.write(batch, limits=NO_LIMITS)
            except PoolBusyError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.05)


def _kit(file: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location("lanpo_conformance_subject", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and the like look themselves up there
    spec.loader.exec_module(module)
    return reduce(getattr, name.split("."), module)()  # type: ignore[operator]


def _obey(command: Callable[..., Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        said = command(**options)
        for one in said if isinstance(said, Iterator) else [said]:
            yield {"said": one}
    except LanpoError as error:
        yield {"error": type(error).__name__, "message": str(error)}


def _own_output() -> TextIO:
    """Standard output for the answers alone; what a test file prints goes to the errors."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main(file: str, name: str, place: str) -> None:
    """Obey until the input ends."""
    out = _own_output()
    worker = Worker(_kit(file, name), place)
    for line in sys.stdin:
        options = json.loads(line)
        for answer in _obey(getattr(worker, options.pop("command")), options):
            out.write(json.dumps(answer) + "\n")
            out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
