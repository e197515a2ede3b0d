"""What two pools have in common and what not, without holding their records in memory."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic_core import from_json

from lanpo_memory.errors import PoolFormatError, PoolNotFoundError
from lanpo_memory.snapshots import digest_of, read_header, read_snapshot, records_of
from lanpo_memory.types import Attempt, Experience, Exposure, FailedAnswer

__all__ = [
    "KINDS",
    "Difference",
    "KindDifference",
    "Records",
    "SnapshotRecords",
    "compare",
    "metadata_of",
]

Kind = Literal["experience", "attempt", "exposure", "failure"]
KINDS: tuple[Kind, ...] = ("experience", "attempt", "exposure", "failure")
"""Every kind of record a pool holds."""

_TYPES: dict[str, type[BaseModel]] = {
    "experience": Experience,
    "attempt": Attempt,
    "exposure": Exposure,
    "failure": FailedAnswer,
}
_ID = 10  # bytes of an id: 20 hexadecimal digits
_ROW = np.dtype([("id", f"S{_ID}"), ("rest", "<u8")])
_Rows = NDArray[np.void]


class Records(Protocol):
    """What can be compared: a store, or the `SnapshotRecords` of a file."""

    def view(self) -> AbstractContextManager[None]:
        """Within it, all scans see the records as they were at one moment."""

    def scan(self, kind: Kind) -> Iterator[Any]:
        """Yield every record of a kind, oldest first."""


@dataclass(frozen=True, slots=True)
class KindDifference:
    """How the records of one kind differ: counts, and the first few ids, oldest first.

    `changed` are in both under the same id with another `metadata_of`.
    """

    kind: Kind
    count_a: int
    count_b: int
    only_a: int
    only_b: int
    changed: int
    first_only_a: tuple[str, ...] = ()
    first_only_b: tuple[str, ...] = ()
    first_changed: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both hold the same records of this kind."""
        return not (self.only_a or self.only_b or self.changed)


@dataclass(frozen=True, slots=True)
class Difference:
    """How two pools differ, kind by kind. `digest_a` and `digest_b` are those of the pools."""

    digest_a: str
    digest_b: str
    kinds: tuple[KindDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether both hold the same, in the same order."""
        return self.digest_a == self.digest_b and all(kind.equal for kind in self.kinds)

    @property
    def reordered(self) -> bool:
        """Whether both hold the same records, in another order within a problem."""
        return self.digest_a != self.digest_b and all(kind.equal for kind in self.kinds)


def compare(a: Records, b: Records, *, examples: int = 5) -> Difference:
    """Compare two pools, each as it is at one moment.

    Every record is read once and let go; 18 bytes of it are kept, next to what a digest takes.

    Args:
        a: a store, or the `SnapshotRecords` of a file.
        b: the other one.
        examples: how many ids to name of each kind and each difference.

    >>> from lanpo_memory import Experience, ExperiencePool, Problem
    >>> a, b = ExperiencePool(), ExperiencePool()
    >>> receipts = a.add([Experience(problem=Problem(text="2 + 3?"), thoughts="Count on.")])
    >>> found = compare(a.store, b.store)
    >>> found.equal, found.kinds[0].only_a, found.kinds[0].only_b
    (False, 1, 0)
    """
    one, two = _Inventory(a), _Inventory(b)
    return Difference(
        digest_a=one.digest,
        digest_b=two.digest,
        kinds=tuple(_compared(kind, one.rows(kind), two.rows(kind), examples) for kind in KINDS),
    )


class _Inventory:
    """The digest of a pool, and of each record its id and a hash of what the id does not cover."""

    def __init__(self, source: Records) -> None:
        self._found = {kind: bytearray() for kind in KINDS}
        with source.view():
            self.digest = digest_of(
                self._noted("experience", source.scan("experience")),
                self._noted("attempt", source.scan("attempt")),
                self._noted("exposure", source.scan("exposure")),
            )
            deque(self._noted("failure", source.scan("failure")), maxlen=0)

    def _noted(self, kind: Kind, records: Iterable[Any]) -> Iterator[Any]:
        found = self._found[kind]
        for record in records:
            found += bytes.fromhex(record.id)
            rest = json.dumps(list(metadata_of(record).values()))
            found += hashlib.blake2b(rest.encode(), digest_size=8).digest()
            yield record

    def rows(self, kind: Kind) -> _Rows:
        return np.frombuffer(self._found[kind], dtype=_ROW)


def metadata_of(record: Experience | Attempt | Exposure | FailedAnswer) -> dict[str, Any]:
    """Return what is compared of records with the same id: by name, what the id does not cover."""
    if isinstance(record, Experience):
        m = record.metadata
        return {"step": m.step, "reward": m.reward, "correct": m.correct, "parents": m.parents}
    if isinstance(record, Exposure):
        return {
            "guided": record.guided,
            "scratch": record.scratch,
            "group_size": record.group_size,
            "experience_ids": record.experience_ids,
            "randomised": record.randomised,
        }
    return {"reason": record.reason} if isinstance(record, FailedAnswer) else {}


def _compared(kind: Kind, a: _Rows, b: _Rows, examples: int) -> KindDifference:
    in_b, in_a = np.isin(a["id"], b["id"]), np.isin(b["id"], a["id"])
    both = np.flatnonzero(in_b)
    order = np.argsort(b["id"])
    places = order[np.searchsorted(b["id"], a["id"][both], sorter=order)]
    changed = both[a["rest"][both] != b["rest"][places]]
    only_a, only_b = np.flatnonzero(~in_b), np.flatnonzero(~in_a)
    return KindDifference(
        kind=kind,
        count_a=len(a),
        count_b=len(b),
        only_a=len(only_a),
        only_b=len(only_b),
        changed=len(changed),
        first_only_a=_ids(a, only_a[:examples]),
        first_only_b=_ids(b, only_b[:examples]),
        first_changed=_ids(a, changed[:examples]),
    )


def _ids(rows: _Rows, places: NDArray[np.intp]) -> tuple[str, ...]:
    # Not from the field: numpy takes zeros at the end of bytes for padding.
    return tuple(rows[place].tobytes()[:_ID].hex() for place in places.tolist())


class SnapshotRecords:
    """The records of a snapshot file, read from it anew for each scan.

    Whole and undamaged is what its footer says; a file of version 1 has none, and is read at once.

    Raises:
        PoolNotFoundError: there is no such file.
        PoolFormatError: it is no snapshot, or it is damaged.
        PoolVersionError: it was written by a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise PoolNotFoundError(f"there is no snapshot at {self.path}")
        header = read_header(self.path)
        if header is None:
            raise PoolFormatError(f"{self.path} is no pool snapshot: its first line is no header")
        self._old = read_snapshot(self.path) if header["schema_version"] == 1 else None
        if self._old is None:
            deque(records_of(self.path, footed=True), maxlen=0)  # for what it refuses

    def view(self) -> AbstractContextManager[None]:
        """See `Records.view`: a snapshot is of one moment."""
        return nullcontext()

    def scan(self, kind: Kind) -> Iterator[Any]:
        """See `Records.scan`."""
        if self._old is not None:
            yield from getattr(self._old, f"{kind}s")
            return
        model = _TYPES[kind]
        for number, line in records_of(self.path, footed=True):
            try:
                data = from_json(line)
                if data.pop("kind") != kind:
                    continue
                record = model.__pydantic_validator__.validate_python(data)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise PoolFormatError(
                    f"{self.path}, line {number} cannot be read: {error}"
                ) from error
            yield record

    def read(self, kind: Kind, *, ids: Sequence[str]) -> list[Any]:
        """Return the records with these ids, oldest first."""
        wanted = set(ids)
        return [record for record in self.scan(kind) if record.id in wanted] if wanted else []
