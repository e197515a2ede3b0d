"""What one transaction does to the SQLite file: dedupe, insert, evict, log."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence

from lanpo_memory.stores.kinds import OF_PROBLEM, PLAIN
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
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
    Receipt,
)

__all__ = ["Write"]

_DELETABLE = {
    "experience": "p.pid FROM experience r JOIN problem p ON p.rid = r.rid",
    "failure": "r.pid FROM failure r",
}
_COUNTED = "experience"  # the kind that a namespace knows the number of


class Write:
    """One batch inside one open transaction."""

    def __init__(
        self,
        db: sqlite3.Connection,
        ns: int,
        limits: Limits,
        worth: Callable[[str], float] | None = None,
    ) -> None:
        self._db, self._ns, self._limits, self._worth = db, ns, limits, worth
        self._log: list[tuple[int, str, str, str, str]] = []

    def batch(self, batch: Batch) -> list[Receipt]:
        if batch.replace:
            self._clear()
        problems: dict[str, Problem] = {}
        for experience in batch.experiences:
            problems.setdefault(experience.problem.id, experience.problem)
        for attempt in batch.attempts:
            problems.setdefault(attempt.problem.id, attempt.problem)
        rids, texts = self._problems(problems)
        receipts = [
            *self._experiences(batch.experiences, rids, texts, batch.now),
            *self._attempts(batch.attempts, rids, texts),
            *self._plain("exposure", batch.exposures),
            *self._failures(batch.failures),
            *[self._deletion(i) for i in batch.deletions],
        ]
        self._db.executemany(
            "INSERT INTO change (ns, op, kind, id, pid) VALUES (?, ?, ?, ?, ?)", self._log
        )
        grown = sum((op == "add") - (op != "add") for _, op, k, _, _ in self._log if k == _COUNTED)
        if grown:
            self._db.execute(
                "UPDATE namespace SET experiences = experiences + ? WHERE ns = ?",
                (grown, self._ns),
            )
        return receipts

    def _clear(self) -> None:
        for kind in OF_PROBLEM:
            self._db.execute(
                f"INSERT INTO change (ns, op, kind, id, pid) "
                f"SELECT r.ns, 'delete', '{kind}', r.id, p.pid FROM {kind} r "
                "JOIN problem p ON p.rid = r.rid WHERE r.ns = ? ORDER BY r.seq",
                (self._ns,),
            )
        for kind in PLAIN:
            self._db.execute(
                f"INSERT INTO change (ns, op, kind, id, pid) "
                f"SELECT ns, 'delete', '{kind}', id, pid FROM {kind} WHERE ns = ? ORDER BY seq",
                (self._ns,),
            )
        for table in (*OF_PROBLEM, *PLAIN, "problem"):
            self._db.execute(f"DELETE FROM {table} WHERE ns = ?", (self._ns,))
        self._db.execute("UPDATE namespace SET experiences = 0 WHERE ns = ?", (self._ns,))

    def _problems(self, problems: dict[str, Problem]) -> tuple[dict[str, int], dict[str, str]]:
        """Row ids and stored texts, by problem id: the first text of an id stays."""
        self._db.executemany(
            "INSERT OR IGNORE INTO problem (ns, pid, text, family, metadata) VALUES (?,?,?,?,?)",
            [
                (self._ns, p.id, p.text, p.family, json.dumps(dict(p.metadata)))
                for p in problems.values()
            ],
        )
        rows = self._db.execute(
            "SELECT p.pid, p.rid, p.text FROM json_each(?) j "
            "CROSS JOIN problem p ON p.pid = j.value AND p.ns = ?",
            (json.dumps(list(problems)), self._ns),
        ).fetchall()
        return {pid: rid for pid, rid, _ in rows}, {pid: text for pid, _, text in rows}

    def _experiences(
        self,
        experiences: Sequence[Experience],
        rids: dict[str, int],
        texts: dict[str, str],
        now: float | None,
    ) -> list[Receipt]:
        known = self._known("experience", [e.id for e in experiences])
        counts = self._counts_by_step(rids)
        rows: list[tuple[int, str, int, int, str, str]] = []
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for e in experiences:
            pid, rid, step = e.problem.id, rids[e.problem.id], e.metadata.step
            receipt = verdict(
                e,
                text=texts[pid],
                held=e.id in known,
                of_step=counts[rid, step],
                per_step=self._limits.per_step,
            )
            receipts.append(receipt)
            if receipt.status != "added":
                continue
            known.add(e.id)
            counts[rid, step] += 1
            touched[rid] = pid
            rows.append((self._ns, e.id, rid, step, _payload(e, now), e.lesson_id))
            self._log.append((self._ns, "add", "experience", e.id, pid))
        self._db.executemany(
            "INSERT INTO experience (ns, id, rid, step, payload, lesson) VALUES (?,?,?,?,?,?)", rows
        )
        return settled(receipts, self._evict_experiences(touched))

    def _attempts(
        self, attempts: Sequence[Attempt], rids: dict[str, int], texts: dict[str, str]
    ) -> list[Receipt]:
        known = self._known("attempt", [a.id for a in attempts])
        receipts: list[Receipt] = []
        touched: dict[int, str] = {}
        for a in attempts:
            pid = a.problem.id
            reason = refusal(a.problem, texts[pid])
            if reason:
                receipts.append(Receipt(status="rejected", id=a.id, reason=reason))
            elif a.id in known:
                receipts.append(Receipt(status="duplicate", id=a.id))
            else:
                known.add(a.id)
                touched[rids[pid]] = pid
                payload = a.model_dump_json(exclude={"problem"})
                self._db.execute(
                    "INSERT INTO attempt (ns, id, rid, payload) VALUES (?, ?, ?, ?)",
                    (self._ns, a.id, rids[pid], payload),
                )
                self._log.append((self._ns, "add", "attempt", a.id, pid))
                receipts.append(Receipt(status="added", id=a.id))
        return settled(receipts, self._evict("attempt", touched, self._limits.attempts))

    def _plain(
        self, kind: str, records: Sequence[Exposure] | Sequence[FailedAnswer]
    ) -> list[Receipt]:
        receipts = []
        for record in records:
            row = (self._ns, record.id, record.problem_id, record.model_dump_json())
            cursor = self._db.execute(
                f"INSERT OR IGNORE INTO {kind} (ns, id, pid, payload) VALUES (?, ?, ?, ?)", row
            )
            if cursor.rowcount:
                self._log.append((self._ns, "add", kind, record.id, record.problem_id))
            receipts.append(
                Receipt(status="added" if cursor.rowcount else "duplicate", id=record.id)
            )
        return receipts

    def _failures(self, failures: Sequence[FailedAnswer]) -> list[Receipt]:
        receipts = self._plain("failure", failures)
        limit = self._limits.failures
        if limit is None or not failures:
            return receipts
        rows = self._db.execute(
            "SELECT seq, id, pid FROM failure WHERE ns = ? ORDER BY seq DESC LIMIT -1 OFFSET ?",
            (self._ns, limit),
        ).fetchall()[::-1]
        self._db.executemany("DELETE FROM failure WHERE seq = ?", [(row[0],) for row in rows])
        self._log += [(self._ns, "evict", "failure", row[1], row[2]) for row in rows]
        return settled(receipts, {row[1] for row in rows})

    def _deletion(self, record_id: str) -> Receipt:
        for kind, source in _DELETABLE.items():
            row = self._db.execute(
                f"SELECT r.seq, {source} WHERE r.ns = ? AND r.id = ?", (self._ns, record_id)
            ).fetchone()
            if row is not None:
                self._db.execute(f"DELETE FROM {kind} WHERE seq = ?", (row[0],))
                self._log.append((self._ns, "delete", kind, record_id, row[1]))
                return Receipt(status="added", id=record_id, reason="deleted")
        return Receipt(status="rejected", id=record_id, reason=NOTHING_TO_DELETE)

    def _known(self, kind: str, ids: Sequence[str]) -> set[str]:
        rows = self._db.execute(
            f"SELECT r.id FROM json_each(?) j CROSS JOIN {kind} r ON r.id = j.value AND r.ns = ?",
            (json.dumps(list(ids)), self._ns),
        )
        return {row[0] for row in rows}

    def _counts_by_step(self, rids: dict[str, int]) -> defaultdict[tuple[int, int], int]:
        counts: defaultdict[tuple[int, int], int] = defaultdict(int)
        if self._limits.per_step is not None:
            rows = self._db.execute(
                "SELECT e.rid, e.step, count(*) FROM json_each(?) j "
                "CROSS JOIN experience e ON e.rid = j.value GROUP BY e.rid, e.step",
                (json.dumps(list(rids.values())),),
            )
            counts.update({(rid, step): n for rid, step, n in rows})
        return counts

    def _evict_experiences(self, touched: dict[int, str]) -> set[str]:
        if self._worth is None:
            return self._evict("experience", touched, self._limits.capacity)
        return self._evict_by_worth(touched, self._worth)

    def _evict(self, kind: str, touched: dict[int, str], limit: int | None) -> set[str]:
        """First in, first out, per problem."""
        if limit is None or not touched:
            return set()
        # Older than the newest `limit` of its problem: found in the index alone.
        rows = self._db.execute(
            f"SELECT r.seq, r.id, r.rid FROM json_each(?) j CROSS JOIN {kind} r ON r.rid = j.value "
            f"AND r.seq < (SELECT n.seq FROM {kind} n WHERE n.rid = j.value "
            "ORDER BY n.seq DESC LIMIT 1 OFFSET ?) ORDER BY r.seq",
            (json.dumps(list(touched)), limit - 1),
        ).fetchall()
        return self._drop(kind, rows, touched)

    def _evict_by_worth(self, touched: dict[int, str], worth: Callable[[str], float]) -> set[str]:
        """Whatever is worth least, the oldest of equals first."""
        limit = self._limits.capacity
        if limit is None or not touched:
            return set()
        rows = self._db.execute(
            "SELECT e.seq, e.id, e.rid, e.lesson FROM json_each(?) j "
            "CROSS JOIN experience e ON e.rid = j.value ORDER BY e.rid",
            (json.dumps(list(touched)),),
        ).fetchall()
        gone = [row[:3] for row in least_worth(rows, worth, limit)]
        return self._drop("experience", gone, touched)

    def _drop(
        self, kind: str, rows: Sequence[tuple[int, str, int]], touched: dict[int, str]
    ) -> set[str]:
        self._db.executemany(f"DELETE FROM {kind} WHERE seq = ?", [(row[0],) for row in rows])
        self._log += [(self._ns, "evict", kind, row[1], touched[row[2]]) for row in rows]
        return {row[1] for row in rows}


def _payload(experience: Experience, now: float | None) -> str:
    """The stored text of an experience; one that has no time of its own was made now."""
    text = experience.model_dump_json(exclude={"problem"})
    if now is None or experience.metadata.created_at is not None:
        return text
    # Quotes within a text are escaped, and `extra` comes later: the first is the field itself.
    return text.replace('"created_at":null', f'"created_at":{now!r}', 1)
