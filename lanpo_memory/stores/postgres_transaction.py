"""One write transaction in PostgreSQL: its lock, what it looks up, what it inserts, its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lanpo_memory.errors import PoolNotFoundError
from lanpo_memory.stores.kinds import OF_PROBLEM, PLAIN
from lanpo_memory.stores.postgres_records import ids_listed, keys_listed
from lanpo_memory.types import Batch, Problem

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Space", "Transaction"]

_COUNTED = "experience"  # the kind that a namespace knows the number of


class Space(NamedTuple):
    """A namespace: its number, its key, its name, and where it is."""

    ns: int
    key: str
    name: str
    address: str

    @property
    def lock(self) -> int:
        """What its writers take in turn: a signed number of 64 bits."""
        return int(self.key[:16], 16) - 2**63

    @property
    def channel(self) -> str:
        """Where commits are told of."""
        return f"lanpo_{self.ns}"

    def gone(self) -> PoolNotFoundError:
        """What to raise where its row is not there any more."""
        return PoolNotFoundError(
            f"the namespace {self.name!r} of {self.address} is gone; open the pool again"
        )


class Transaction:
    """Begun on a connection, with the namespace's lock held and everything looked up.

    That takes one round trip, since nothing asked depends on an answer. The namespace's writers
    take turns, so that what was looked up stays true, and numbers are given in order of commit.

    Args:
        mark: the batch's name, which goes into the first line of its log.
        line: where an earlier try of the batch would have put its mark; 0 for none.
        steps: the training steps whose experiences are to be counted.
        timeout_s: how long to wait for the lock.

    Raises:
        PoolNotFoundError: the namespace is gone.
    """

    def __init__(
        self,
        db: Connection[Any],
        space: Space,
        batch: Batch,
        *,
        mark: str,
        line: int = 0,
        steps: Sequence[int] = (),
        timeout_s: float,
    ) -> None:
        self.db, self._space, self._mark = db, space, mark
        self._lines: list[tuple[str, str, str, str]] = []
        self.first_told = _first_told(batch)
        """The problems of the batch by id, each as it is told first."""
        with db.pipeline():
            self._lock(timeout_s)
            counters = self.ask(
                "SELECT head, problems, experiences FROM lanpo.namespace "
                "WHERE ns = %s AND key = %s",
                space.key,
            )
            earlier = self.ask(
                "SELECT 1 FROM lanpo.change WHERE ns = %s AND seq = %s AND batch = %s", line, mark
            )
            cleared = self._clear() if batch.replace else None
            keys = keys_listed(self.first_told)
            told = self.ask(
                "SELECT pid, rid, text FROM lanpo.problem WHERE ns = %s "
                "AND key = ANY (string_to_array(%s, ',')::uuid[])",
                keys,
            )
            held = self._ask_held(batch)
            counted = self._ask_steps(keys, steps) if steps else ()
        self._number(counters.fetchone(), cleared.fetchone() if cleared else None)
        self.written = earlier.fetchone() is not None
        """Whether an earlier try of this batch was committed."""
        self.told: dict[str, tuple[int, str]] = {pid: (rid, text) for pid, rid, text in told}
        """Number and text of each stored problem, by id."""
        self.held: dict[str, set[str]] = {kind: {i for (i,) in rows} for kind, rows in held.items()}
        """Which ids of the batch are stored already, by kind."""
        self.counts = Counter({(rid, step): n for rid, step, n in counted})
        """How many experiences a problem holds, by its number and their step."""

    # ------------------------------------------------------------------ begin

    def ask(self, sql: str, *arguments: Any) -> Any:
        """Run a statement whose first argument is the namespace's number; return its cursor."""
        return self.db.execute(sql, (self._space.ns, *arguments))

    def _lock(self, timeout_s: float) -> None:
        self.db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        # What is acknowledged is on the disk, whatever the server does for others.
        self.db.execute(
            "SELECT set_config('lock_timeout', %s, true), "
            "CASE WHEN current_setting('synchronous_commit') = 'off' "
            "THEN set_config('synchronous_commit', 'on', true) END",
            (str(max(1, int(1_000 * timeout_s))),),
        )
        self.db.execute("SELECT pg_advisory_xact_lock(%s)", (self._space.lock,))

    def _ask_held(self, batch: Batch) -> dict[str, Any]:
        records: tuple[Sequence[Any], ...] = (
            batch.experiences,
            batch.attempts,
            batch.exposures,
            batch.failures,
        )
        return {
            kind: self.ask(
                f"SELECT id FROM lanpo.{kind} WHERE ns = %s "
                "AND id = ANY (string_to_array(%s, ','))",
                ids_listed(record.id for record in of_kind),
            )
            if of_kind
            else ()
            for kind, of_kind in zip((*OF_PROBLEM, *PLAIN), records, strict=True)
        }

    def _ask_steps(self, keys: str, steps: Sequence[int]) -> Any:
        return self.ask(
            "SELECT e.rid, e.step, count(*) FROM lanpo.problem p "
            "JOIN lanpo.experience e ON e.ns = p.ns AND e.rid = p.rid WHERE p.ns = %s "
            "AND p.key = ANY (string_to_array(%s, ',')::uuid[]) AND e.step = ANY (%s) "
            "GROUP BY 1, 2",
            keys,
            list(steps),
        )

    def _clear(self) -> Any:
        """Delete all there is, and say so in the log, of which the last line comes back."""
        of_problem = [
            f"SELECT {place} AS place, '{kind}' AS kind, r.seq, r.id, p.pid FROM lanpo.{kind} r "
            "JOIN lanpo.problem p ON p.ns = r.ns AND p.rid = r.rid WHERE r.ns = %(ns)s"
            for place, kind in enumerate(OF_PROBLEM)
        ]
        plain = [
            f"SELECT {place}, '{kind}', seq, id, pid FROM lanpo.{kind} WHERE ns = %(ns)s"
            for place, kind in enumerate(PLAIN, len(OF_PROBLEM))
        ]
        cleared = self.db.execute(
            "WITH n AS (SELECT head FROM lanpo.namespace WHERE ns = %(ns)s), gone AS "
            "(INSERT INTO lanpo.change (ns, seq, op, kind, id, pid, batch) "
            "SELECT %(ns)s, n.head + r.number, 'delete', r.kind, r.id, r.pid, "
            "CASE WHEN r.number = 1 THEN %(mark)s::uuid END FROM n, "
            "(SELECT l.*, row_number() OVER (ORDER BY l.place, l.seq) AS number "
            f"FROM ({' UNION ALL '.join([*of_problem, *plain])}) l) r RETURNING seq) "
            "SELECT n.head + (SELECT count(*) FROM gone) FROM n",
            {"ns": self._space.ns, "mark": self._mark},
        )
        for table in (*OF_PROBLEM, *PLAIN, "problem"):
            self.ask(f"DELETE FROM lanpo.{table} WHERE ns = %s")
        return cleared

    def _number(self, counters: Sequence[int] | None, cleared: Sequence[int] | None) -> None:
        """Where the numbers of this transaction begin."""
        if counters is None:
            raise self._space.gone()
        self._head, self._rids, self.before = counters
        self.after = self.before
        """How many experiences the namespace holds, before and after."""
        self.first = self._head + 1
        """The number of the first line that this transaction puts into the log."""
        if cleared is not None:
            self._head, self.after = cleared[0], 0

    # ------------------------------------------------------------------ in between

    def note(self, op: str, kind: str, record_id: str, pid: str) -> int:
        """Put a line into the log; its number is that of the record it adds."""
        self._lines.append((op, kind, record_id, pid))
        self._head += 1
        return self._head

    def tell(self, problem: Problem) -> int:
        """Number a problem that is new."""
        self._rids += 1
        self.told[problem.id] = self._rids, problem.text
        return self._rids

    def copy(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, of which the first column is the namespace."""
        if not rows:
            return
        ns = self._space.ns
        with self.db.cursor() as cursor, cursor.copy(f"COPY lanpo.{table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row((ns, *row))

    # ------------------------------------------------------------------ end

    @property
    def changed(self) -> bool:
        """Whether anything was put into the log."""
        return self._head >= self.first

    def log(self) -> None:
        """Store the log; what is left is the commit."""
        self.copy(
            "change (ns, seq, op, kind, id, pid, batch)",
            [
                (seq, *line, self._mark if seq == self.first else None)
                for seq, line in enumerate(self._lines, self._head - len(self._lines) + 1)
            ],
        )
        grown = sum((op == "add") - (op != "add") for op, k, _, _ in self._lines if k == _COUNTED)
        self.after += grown

    def commit(self) -> None:
        """Count, tell whoever listens, and commit, in one round trip."""
        with self.db.pipeline():
            if self.changed:
                self.db.execute(
                    "UPDATE lanpo.namespace SET head = %s, problems = %s, experiences = %s "
                    "WHERE ns = %s",
                    (self._head, self._rids, self.after, self._space.ns),
                )
                self.db.execute("SELECT pg_notify(%s, '')", (self._space.channel,))
            self.db.execute("COMMIT")


def _first_told(batch: Batch) -> dict[str, Problem]:
    told = [e.problem for e in batch.experiences] + [a.problem for a in batch.attempts]
    problems: dict[str, Problem] = {}
    for problem in told:
        problems.setdefault(problem.id, problem)
    return problems
