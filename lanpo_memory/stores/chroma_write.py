"""How a batch gets into the log of a Chroma collection: weighed, stored, committed, tidied up."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lanpo_memory.errors import PoolBusyError, PoolDamagedError, PoolError
from lanpo_memory.stores.chroma_lease import Lease
from lanpo_memory.stores.chroma_log import ChromaLog, pieces
from lanpo_memory.stores.chroma_records import Commit, Stored, key_of, payload
from lanpo_memory.stores.chroma_replica import ChromaReplica
from lanpo_memory.stores.replica import Line, Replica, Staged
from lanpo_memory.types import Batch, Limits, Receipt

__all__ = ["ChromaWriter"]

_TRIES = 5  # to mark a lease in the log while its last holder still writes
_STORED_AT_ONCE = 2_000  # records; some two seconds


class Follow(Protocol):
    """Brings the replica up to date; what is known need not be fetched."""

    def __call__(self, known: Mapping[str, Any] | None = None, *, surely: bool = False) -> None:
        """Follow the log, `surely` also where nothing should be new."""


class _Draft:
    """What a batch changes: the commit behind the state as of now, or none.

    Its number is fixed here. The replica may move on while the batch is weighed, with a thread
    that reads; then the number is taken, and the draft loses.
    """

    def __init__(self, replica: ChromaReplica) -> None:
        self.token = uuid.uuid4().hex[:12]
        self._number = len(replica.tokens) + 1
        self._first = replica.store.changes(0, limit=0).head + 1
        self.lines: tuple[Line, ...] = ()
        self.problems: tuple[str, ...] = ()
        self.replace = False
        self.records: dict[str, Any] = {}
        self.stored: list[Stored] = []

    def fill(self, staged: Staged, replica: Replica, *, replace: bool) -> None:
        told = staged.told_since(replica, replace=replace)
        self.lines, self.problems = tuple(staged.lines), tuple(p.id for p in told)
        self.replace = replace
        for problem in told:
            self._keep("problem", problem.id, problem, self._first)
        # What the batch itself drops again is told of in the log and stored nowhere.
        living: dict[tuple[str, str], int] = {}
        for seq, (op, kind, record_id, _) in enumerate(self.lines, start=self._first):
            if op == "add":
                living[kind, record_id] = seq
            else:
                living.pop((kind, record_id), None)
        for (kind, record_id), seq in living.items():
            self._keep(kind, record_id, staged.record(kind, record_id), seq)

    def __bool__(self) -> bool:
        return bool(self.lines or self.problems)

    def _keep(self, kind: str, record_id: str, record: Any, seq: int) -> None:
        self.records[key_of(kind, record_id, self.token)] = record
        self.stored.append(payload(kind, record, self.token, seq))

    def commit(self, epoch: int, by: str) -> Commit:
        return Commit(
            number=self._number,
            token=self.token,
            epoch=epoch,
            first=self._first,
            by=by,
            lines=self.lines,
            problems=self.problems,
            replace=self.replace,
        )


class ChromaWriter:
    """Writes batches; one thread at a time.

    Args:
        log: where to.
        replica: the state the log has led to; it is changed by following the log alone, so
            whatever goes wrong while writing, it shows what is really there.
        lock: guards the replica.
        follow: brings it up to date, under the lock.
        lease: the right to write, `None` where nobody else can.
    """

    def __init__(
        self,
        log: ChromaLog,
        replica: ChromaReplica,
        lock: threading.RLock,
        follow: Follow,
        lease: Lease | None,
    ) -> None:
        self._log, self._replica, self._lock = log, replica, lock
        self._follow, self._lease = follow, lease
        self._by = "the process that has the folder open" if lease is None else lease.by
        self._tidy = False

    def write(
        self, batch: Batch, limits: Limits, worth: Callable[[str], float] | None
    ) -> list[Receipt]:
        """See `ExperienceStore.write`."""
        epoch = self._claim()
        with self._lock:
            staged, draft = self._replica.store.staged(), _Draft(self._replica)
        receipts = staged.write(batch, limits=limits, worth=worth)
        draft.fill(staged, self._replica.store, replace=batch.replace)
        if draft and not self._committed(draft, epoch):
            raise PoolBusyError(
                f"{self._replica.by} wrote to this pool at the same moment; nothing of this batch "
                "was written. Chroma takes one writer: try again, or use PostgreSQL for several"
            )
        return receipts

    def release(self) -> None:
        """Let others write."""
        if self._lease is not None:
            self._lease.release()

    def _claim(self) -> int:
        """Make sure that this process may write; return the number of its lease."""
        self._follow()
        self._check_log()
        epoch = self._replica.epoch
        if self._lease is not None:
            epoch = self._lease.hold(epoch)
        if epoch > self._replica.epoch:
            self._fence(epoch)
            self._tidy = False
        if not self._tidy:
            self._sweep(epoch)
        return epoch

    def _check_log(self) -> None:
        """Refuse to go on behind a gap, where nobody would ever look."""
        last = len(self._replica.tokens)
        if last and not self._log.holds(last):
            raise PoolDamagedError(
                f"commit {last} of this pool was there and is gone: an older copy of its folder "
                "was put in place. Nothing was written; open the pool again to go on from there"
            )

    def _fence(self, epoch: int) -> None:
        """Commit nothing, under this lease: what another writer has under way now fails."""
        for _ in range(_TRIES):
            with self._lock:
                nothing = _Draft(self._replica)
            if self._committed(nothing, epoch):
                return
            if self._replica.epoch > epoch:
                break
        raise PoolBusyError(
            f"{self._replica.by} keeps writing to this pool; nothing was written, try again"
        )

    def _sweep(self, epoch: int) -> None:
        """Remove what writers left behind that were interrupted."""
        replica = self._replica
        expected = len(replica.living.tokens) + len(replica.tokens) + replica.parts
        if self._log.size() != expected + self._log.leases():
            self._fence(epoch)
            self._log.sweep(replica.living.keys(), set(replica.tokens))
        self._tidy = True

    def _committed(self, draft: _Draft, epoch: int) -> bool:
        """Write a draft; tell whether it became the next entry of the log.

        Raises:
            PoolConnectionError: the server went away. Following the log tells what became of it.
            PoolWriteError: Chroma refused.
        """
        with self._lock:
            commit = draft.commit(epoch, self._by)
            dropped = self._replica.living.dropped(commit)
        tidy, self._tidy = self._tidy, False
        for some in pieces(draft.stored, _STORED_AT_ONCE):
            self._log.put(some)
            if self._lease is not None:  # which may end before a large batch does
                self._lease.hold(self._replica.epoch)
        refused: PoolError | None = None
        try:
            self._log.append(commit)
        except PoolError as error:
            refused = error
        self._follow(draft.records, surely=True)
        won = self._replica.tokens[commit.number - 1 : commit.number] == [commit.token]
        if refused is not None and not won:
            raise refused
        with contextlib.suppress(PoolError):  # it is written: what stays behind is swept later
            self._log.delete(dropped if won else list(draft.records))
            self._tidy = tidy and won
        return won
