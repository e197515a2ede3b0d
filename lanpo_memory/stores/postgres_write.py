"""What one transaction does to the PostgreSQL tables: dedupe, insert, evict, log."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lanpo_memory.stores.postgres_errors import is_lost
from lanpo_memory.stores.postgres_records import (
    Payload,
    experience_payload,
    exposure_payload,
    failure_payload,
    ids_listed,
    key_of,
    problem_metadata,
)
from lanpo_memory.stores.postgres_transaction import Space, Transaction
from lanpo_memory.stores.receipts import (
    NOTHING_TO_DELETE,
    least_worth,
    refusal,
    settled,
    verdict,
)
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    FailedAnswer,
    Limits,
    Receipt,
)

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Write"]


class Write:
    """One batch: `run` is one try of it, in a transaction of its own.

    A try whose connection broke may have been committed or not. The first line that it put into
    the log bears a mark that no other batch has, and the next try looks for it there.
    """

    def __init__(
        self,
        space: Space,
        batch: Batch,
        limits: Limits,
        worth: Callable[[str], float] | None,
        timeout_s: float,
    ) -> None:
        self._space, self._batch, self._limits, self._worth = space, batch, limits, worth
        self._timeout_s = timeout_s
        self._mark = uuid.uuid4().hex  # a name, not a choice: it decides nothing
        self._sent: tuple[int, list[Receipt]] | None = None

    def run(self, db: Connection[Any]) -> list[Receipt]:
        """Write the batch, or find that an earlier try did; return its receipts.

        Raises:
            PoolNotFoundError: the namespace is gone.
        """
        tx = self._tx = Transaction(
            db,
            self._space,
            self._batch,
            mark=self._mark,
            line=self._sent[0] if self._sent else 0,
            steps=self._steps(),
            timeout_s=self._timeout_s,
        )
        if self._sent and tx.written:
            db.execute("ROLLBACK")
            return self._sent[1]
        self._sent = None  # the lock is ours, so what came before has ended, without a commit
        receipts = self._receipts()
        tx.log()
        self._commit(receipts)
        return receipts

    def _commit(self, receipts: list[Receipt]) -> None:
        import psycopg

        if self._tx.changed:
            self._sent = self._tx.first, receipts
        try:
            self._tx.commit()
        except psycopg.Error as error:
            if not is_lost(error):  # the server said no: that is decided
                self._sent = None
            raise

    @property
    def doubled(self) -> bool:
        """Whether the number of experiences has passed a power of two, from a thousand on."""
        return self._tx.after.bit_length() > max(10, self._tx.before.bit_length())

    @property
    def undecided(self) -> bool:
        """Whether a try got as far as asking for its commit, and then heard nothing."""
        return self._sent is not None

    def _steps(self) -> list[int]:
        if self._limits.per_step is None:
            return []
        return list({e.metadata.step for e in self._batch.experiences})

    def _receipts(self) -> list[Receipt]:
        batch = self._batch
        self._insert_problems()
        return [
            *self._experiences_in(batch.experiences, batch.now),
            *self._attempts_in(batch.attempts),
            *self._plain("exposure", batch.exposures, exposure_payload),
            *self._failures_in(batch.failures),
            *self._deleted(batch.deletions),
        ]

    def _insert_problems(self) -> None:
        """Number and store the problems that are new: the first text of an id stays."""
        rows = []
        for problem in self._tx.first_told.values():
            if problem.id in self._tx.told:
                continue
            rid = self._tx.tell(problem)
            rows.append(
                (rid, key_of(problem.id), problem.id, problem.text,
                 problem.family, *problem_metadata(problem))
            )  # fmt: skip
        self._tx.copy("problem (ns, rid, key, pid, text, family, metadata, exact)", rows)

    def _experiences_in(
        self, experiences: Sequence[Experience], now: float | None
    ) -> list[Receipt]:
        rows: list[tuple[Any, ...]] = []
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for e in experiences:
            pid, step = e.problem.id, e.metadata.step
            rid, text = self._tx.told[pid]
            receipt = verdict(
                e,
                text=text,
                held=e.id in self._tx.held["experience"],
                of_step=self._tx.counts[rid, step],
                per_step=self._limits.per_step,
            )
            receipts.append(receipt)
            if receipt.status != "added":
                continue
            self._tx.held["experience"].add(e.id)
            self._tx.counts[rid, step] += 1
            touched[rid] = pid
            seq = self._tx.note("add", "experience", e.id, pid)
            payload = experience_payload(e, now)
            rows.append((seq, rid, step, e.id, e.lesson_id, *payload))
        self._tx.copy("experience (ns, seq, rid, step, id, lesson, payload, exact)", rows)
        return settled(receipts, self._evict_experiences(touched))

    def _attempts_in(self, attempts: Sequence[Attempt]) -> list[Receipt]:
        rows: list[tuple[Any, ...]] = []
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for a in attempts:
            rid, text = self._tx.told[a.problem.id]
            reason = refusal(a.problem, text)
            if reason:
                receipts.append(Receipt(status="rejected", id=a.id, reason=reason))
            elif a.id in self._tx.held["attempt"]:
                receipts.append(Receipt(status="duplicate", id=a.id))
            else:
                self._tx.held["attempt"].add(a.id)
                touched[rid] = a.problem.id
                seq = self._tx.note("add", "attempt", a.id, a.problem.id)
                payload = a.model_dump_json(exclude={"problem"})
                rows.append((seq, rid, a.id, payload))
                receipts.append(Receipt(status="added", id=a.id))
        self._tx.copy("attempt (ns, seq, rid, id, payload)", rows)
        return settled(receipts, self._evict("attempt", touched, self._limits.attempts))

    def _plain(
        self, kind: str, records: Sequence[Any], payload: Callable[[Any], Payload]
    ) -> list[Receipt]:
        rows: list[tuple[Any, ...]] = []
        receipts: list[Receipt] = []
        for record in records:
            if record.id in self._tx.held[kind]:
                receipts.append(Receipt(status="duplicate", id=record.id))
                continue
            self._tx.held[kind].add(record.id)
            pid = record.problem_id
            seq = self._tx.note("add", kind, record.id, pid)
            rows.append((seq, key_of(pid), record.id, pid, *payload(record)))
            receipts.append(Receipt(status="added", id=record.id))
        self._tx.copy(f"{kind} (ns, seq, key, id, pid, payload, exact)", rows)
        return receipts

    def _failures_in(self, failures: Sequence[FailedAnswer]) -> list[Receipt]:
        receipts = self._plain("failure", failures, failure_payload)
        limit = self._limits.failures
        if limit is None or not failures:
            return receipts
        rows = self._tx.ask(
            "DELETE FROM lanpo.failure f WHERE f.ns = %s AND f.seq < (SELECT n.seq FROM "
            "lanpo.failure n WHERE n.ns = f.ns ORDER BY n.seq DESC LIMIT 1 OFFSET %s) "
            "RETURNING f.seq, f.id, f.pid",
            limit - 1,
        ).fetchall()
        return settled(receipts, self._note_evicted("failure", rows))

    def _deleted(self, ids: Sequence[str]) -> list[Receipt]:
        if not ids:
            return []
        listed = ids_listed(ids)
        gone = "AND r.id = ANY (string_to_array(%s, ',')) RETURNING r.id,"
        with self._tx.db.pipeline():
            experiences = self._tx.ask(
                "DELETE FROM lanpo.experience r USING lanpo.problem p WHERE r.ns = %s "
                f"AND p.ns = r.ns AND p.rid = r.rid {gone} p.pid", listed,
            )  # fmt: skip
            failures = self._tx.ask(
                f"DELETE FROM lanpo.failure r WHERE r.ns = %s {gone} r.pid", listed
            )
        found = {record_id: ("failure", pid) for record_id, pid in failures}
        found |= {record_id: ("experience", pid) for record_id, pid in experiences}
        return [self._deletion(record_id, found.pop(record_id, None)) for record_id in ids]

    def _deletion(self, record_id: str, found: tuple[str, str] | None) -> Receipt:
        if found is None:
            return Receipt(status="rejected", id=record_id, reason=NOTHING_TO_DELETE)
        kind, pid = found
        self._tx.note("delete", kind, record_id, pid)
        return Receipt(status="added", id=record_id, reason="deleted")

    # ------------------------------------------------------------------ eviction

    def _evict_experiences(self, touched: dict[int, str]) -> set[str]:
        if self._worth is None:
            return self._evict("experience", touched, self._limits.capacity)
        return self._evict_by_worth(touched, self._worth)

    def _evict(self, kind: str, touched: dict[int, str], limit: int | None) -> set[str]:
        """First in, first out, per problem."""
        if limit is None or not touched:
            return set()
        # Older than the newest `limit` of its problem: looked up problem by problem, and deleted by
        # number, so that the work is that of the batch, however large the pool is.
        rows = self._tx.ask(
            "SELECT o.seq, o.id, t.rid FROM (SELECT %s::bigint AS ns) s, "
            f"unnest(%s::bigint[]) t (rid), LATERAL (SELECT n.seq, n.id FROM lanpo.{kind} n "
            "WHERE n.ns = s.ns AND n.rid = t.rid ORDER BY n.seq DESC OFFSET %s) o",
            list(touched),
            limit,
        ).fetchall()
        return self._drop(kind, [(seq, i, touched[rid]) for seq, i, rid in rows])

    def _evict_by_worth(self, touched: dict[int, str], worth: Callable[[str], float]) -> set[str]:
        """Whatever is worth least, the oldest of equals first."""
        limit = self._limits.capacity
        if limit is None or not touched:
            return set()
        rows = self._tx.ask(
            "SELECT seq, id, rid, lesson FROM lanpo.experience WHERE ns = %s AND rid = ANY (%s) "
            "ORDER BY rid",
            list(touched),
        ).fetchall()
        gone = least_worth(rows, worth, limit)
        return self._drop("experience", [(seq, i, touched[rid]) for seq, i, rid, _ in gone])

    def _drop(self, kind: str, rows: Sequence[tuple[int, str, str]]) -> set[str]:
        if rows:
            self._tx.ask(
                f"DELETE FROM lanpo.{kind} WHERE ns = %s AND seq = ANY (%s)",
                [seq for seq, _, _ in rows],
            )
        return self._note_evicted(kind, rows)

    def _note_evicted(self, kind: str, rows: Sequence[tuple[int, str, str]]) -> set[str]:
        for _, record_id, pid in sorted(rows):
            self._tx.note("evict", kind, record_id, pid)
        return {record_id for _, record_id, _ in rows}
