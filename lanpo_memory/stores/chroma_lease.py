"""Who writes to a pool on a server: a lease that expires, kept in the pool's own collection."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import PoolBusyError
from lanpo_memory.stores.chroma_log import put
from lanpo_memory.stores.chroma_records import Stored

__all__ = ["Lease"]


@dataclass(frozen=True)
class _Held:
    """A lease as it stands in the collection. `expires_at` is in seconds since the epoch."""

    number: int
    owner: str
    by: str
    expires_at: float


class Lease:
    """The right to write, for `lease_s` seconds from the last renewal.

    Leases are numbered, and of two that take the same number Chroma's `add` keeps the first. A
    lease keeps writers from getting in each other's way; that nothing is lost when two believe to
    hold it (a clock that is wrong, a process that was asleep) is up to the log.

    Args:
        place: the server.
        collection: where the lease is kept.
        lease_s: how long it lasts.
        clock: seconds since the epoch, the same on all machines but for a part of `lease_s`.
    """

    def __init__(
        self, place: ChromaPlace, collection: Any, *, lease_s: float, clock: Callable[[], float]
    ) -> None:
        self.owner = uuid.uuid4().hex
        self.by = f"process {os.getpid()} on {_machine()}"
        self._place, self._collection = place, collection
        self._lease_s, self._clock = lease_s, clock
        self._number: int | None = None
        self._renewed = 0.0

    def hold(self, newest: int) -> int:
        """Take the lease, or renew it where a third of its time is over; return its number.

        `newest` is the number under which was written last.

        Raises:
            PoolBusyError: somebody else holds it, or took it over meanwhile.
        """
        if self._number is None:
            return self._take(newest)
        if newest > self._number:
            raise self._lost()
        if self._clock() >= self._renewed + self._lease_s / 3:
            self._renew(self._number)
        return self._number

    def release(self) -> None:
        """Let others write at once."""
        if self._number is not None:
            number, self._number = self._number, None
            self._write(self._collection.upsert, number, expires_at=0.0)

    def _take(self, newest: int) -> int:
        held = self._all()
        last = held[-1] if held else None
        if last is not None and last.expires_at > self._clock() and not _is_gone(last.by):
            raise self._busy(last)
        number = max(newest, last.number if last else 0) + 1
        self._renewed = self._clock()
        self._write(self._collection.add, number, expires_at=self._renewed + self._lease_s)
        winner = self._all()[-1]
        if winner.owner != self.owner:
            raise self._busy(winner)
        self._number = number
        if held:
            self._place.call(self._collection.delete, ids=[_lease_id(old.number) for old in held])
        return number

    def _renew(self, number: int) -> None:
        held = self._all()
        if held and held[-1].number > number:
            raise self._lost()
        self._renewed = self._clock()
        self._write(self._collection.upsert, number, expires_at=self._renewed + self._lease_s)

    def _lost(self) -> PoolBusyError:
        self._number = None
        held = self._all()
        return (
            self._busy(held[-1])
            if held
            else PoolBusyError(
                "somebody else has written to this pool meanwhile; nothing was written, try again"
            )
        )

    def _busy(self, holder: _Held) -> PoolBusyError:
        left_s = max(0.0, holder.expires_at - self._clock())
        return PoolBusyError(
            f"{holder.by} writes to this pool on {self._place.name}, and Chroma takes one writer; "
            f"reading goes on. Nothing was written. Close the pool there, or try again: its lease "
            f"ends {left_s:.0f} s from now unless it writes. Several writers: use PostgreSQL"
        )

    def _all(self) -> list[_Held]:
        rows = self._place.call(
            self._collection.get, where={"kind": "lease"}, include=["metadatas"]
        )
        held = [_Held(m["number"], m["owner"], m["by"], m["expires_at"]) for m in rows["metadatas"]]
        return sorted(held, key=lambda lease: lease.number)

    def _write(self, method: Any, number: int, *, expires_at: float) -> None:
        metadata = {
            "kind": "lease",
            "number": number,
            "owner": self.owner,
            "by": self.by,
            "expires_at": float(expires_at),
        }
        put(self._place, method, [Stored(_lease_id(number), metadata)])


def _lease_id(number: int) -> str:
    return f"lease-{number:012d}"


def _machine() -> str:
    """Where a process number means this process: containers may share the name of their host."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return socket.gethostname()


def _is_gone(by: str) -> bool:
    """Whether a holder was a process of this machine that has ended: nobody to wait for."""
    words = by.split(" ")
    if os.name != "posix" or len(words) != 4 or words[3] != _machine():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):  # somebody else's, or not a number
        return False
    return False
