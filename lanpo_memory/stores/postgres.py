"""A pool in a PostgreSQL database: many processes on many machines write, and all see it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import (
    InvalidInputError,
    PoolConnectionError,
    PoolError,
    PoolNotFoundError,
)
from lanpo_memory.stores.kinds import OF_PROBLEM, TYPES
from lanpo_memory.stores.postgres_connection import Server
from lanpo_memory.stores.postgres_listening import wait
from lanpo_memory.stores.postgres_records import (
    ids_listed,
    key_of,
    keys_listed,
    revived,
    revived_problem,
)
from lanpo_memory.stores.postgres_schema import prepare
from lanpo_memory.stores.postgres_transaction import Space
from lanpo_memory.stores.postgres_write import Write
from lanpo_memory.stores.receipts import unknown_kind
from lanpo_memory.types import Batch, Change, Changes, Limits, Promise, Receipt

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["PostgresStore"]

_PAGE = 1_000  # records a `scan` holds at once
_CACHED_AT_ONCE = 5_000  # values that one statement writes

_PROBLEM = "p.pid, p.text, p.family, coalesce(p.exact, p.metadata::text)"
_PAYLOAD = "r.seq, coalesce(r.exact, r.payload::text)"
_KEYS = "= ANY (string_to_array(%(keys)s, ',')::uuid[])"
_IDS = "= ANY (string_to_array(%(ids)s, ','))"
_HELD = "EXISTS (SELECT FROM lanpo.experience e WHERE e.ns = p.ns AND e.rid = p.rid)"
_OLDEST_KEPT = (
    "SELECT n.seq FROM lanpo.{kind} n WHERE n.ns = r.ns AND n.key = r.key "
    "ORDER BY n.seq DESC LIMIT 1 OFFSET %(newest)s - 1"
)


class PostgresStore:
    """A pool in a database. An acknowledged write survives; any number of processes may write.

    Everything lies in the schema `lanpo`. Threads may share a store. Where the server restarts or
    a connection breaks, reads and writes are done again until `timeout_s` has passed; a write
    whose commit was not heard of is looked for first, so that its receipts are right.

    Args:
        url: ``postgresql://user@host/database``, as libpq reads it.
        namespace: pools of several runs live side by side in one database and never meet.
        create: make schema and namespace if they are not there; the database has to be.
        timeout_s: how long to wait for another writer, and for a server that went away.

    Raises:
        MissingExtraError: psycopg is not installed.
        PoolURLError: the address cannot be read.
        PoolConnectionError: the server cannot be reached, or refuses the log-in.
        PoolNotFoundError: there is no such database, or, without `create`, no such namespace.
        PoolFormatError: the schema `lanpo` is something else; it was not touched.
        PoolVersionError: the schema was made by a newer version; it was not touched.
        PoolReadOnlyError: the user, or this server, may not write.

    >>> store = PostgresStore("postgresql://me@localhost/pools")  # doctest: +SKIP
    >>> store.count("experience")  # doctest: +SKIP
    0
    """

    promises = frozenset(Promise)
    vector_dtype = "float16"
    """What embedded vectors are cached as: half the bytes on the wire and on the disk."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "default",
        create: bool = True,
        timeout_s: float = 60.0,
    ) -> None:
        if "\0" in namespace:
            raise InvalidInputError("the namespace contains a NUL character; remove it")
        self.namespace = namespace
        self._timeout_s = timeout_s
        self._server = Server(url, timeout_s=timeout_s)
        self._space = self._server.open(lambda db: self._opened(db, create))

    def __repr__(self) -> str:
        return f"PostgresStore({self._server.shown!r}, namespace={self.namespace!r})"

    def _opened(self, db: Connection[Any], create: bool) -> Space:
        """This namespace in a current schema, both made if they are new."""
        prepare(db, self._server.shown, create=create)
        key, find = key_of(self.namespace), "SELECT ns FROM lanpo.namespace WHERE key = %s"
        row = db.execute(find, (key,)).fetchone()
        if row is None and not create:
            known = db.execute("SELECT name FROM lanpo.namespace ORDER BY name").fetchall()
            names = ", ".join(repr(name) for (name,) in known) or "none"
            raise PoolNotFoundError(
                f"{self._server.shown} has no namespace {self.namespace!r}; it has: {names}"
            )
        if row is None:
            db.execute(
                "INSERT INTO lanpo.namespace (key, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (key, self.namespace),
            )
            row = db.execute(find, (key,)).fetchone()
        assert row is not None
        return Space(int(row[0]), key, self.namespace, self._server.shown)

    def view(self) -> AbstractContextManager[None]:
        """See `ExperienceStore.view`."""
        return self._server.view()

    def close(self) -> None:
        """Close every connection, once it is done. Closing twice does nothing."""
        self._server.close()

    # ------------------------------------------------------------------ writing

    def write(
        self, batch: Batch, *, limits: Limits, worth: Callable[[str], float] | None = None
    ) -> list[Receipt]:
        """See `ExperienceStore.write`.

        Raises:
            PoolBusyError: others have been writing for `timeout_s`; nothing was written.
            PoolConnectionError: the server went away and did not come back; the batch is there
                whole or not at all, and adding it again is safe.
        """
        if not len(batch) and not batch.replace:
            return []
        write = Write(self._space, batch, limits, worth, self._timeout_s)
        try:
            receipts = self._server.write(write.run)
        except PoolError as error:
            if not write.undecided:
                raise
            raise PoolConnectionError(
                f"the connection to {self._server.shown} broke while the batch was committed, and "
                "whether it was could not be found out. It is there whole or not at all: add it "
                "again, what is there is a duplicate then."
            ) from error
        if write.doubled:
            self._measure()
        return receipts

    def _measure(self) -> None:
        """Have the server look at the tables again, which it does by itself, but late.

        Until then it takes a namespace that is growing for an empty one, and reads all of it.
        """
        with contextlib.suppress(PoolError):  # the batch is written, whatever becomes of this
            self._server.once(lambda db: db.execute("ANALYZE lanpo.experience, lanpo.problem"))

    # ------------------------------------------------------------------ reading

    def read(
        self,
        kind: Any,
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Any]:
        """See `ExperienceStore.read`."""
        if kind == "problem":
            return self._read_problems(problems if ids is None else ids)
        if kind not in TYPES:
            raise unknown_kind(kind)
        of_problem = kind in OF_PROBLEM
        where = [f"{'p' if of_problem else 'r'}.ns = %(ns)s"]
        if problems is not None:
            where.append(f"{'p' if of_problem else 'r'}.key {_KEYS}")
        if ids is not None:
            where.append(f"r.id {_IDS}")
        if newest is not None and not of_problem:
            where.append(f"r.seq >= coalesce(({_OLDEST_KEPT.format(kind=kind)}), 0)")
        rows = self._rows(
            f"SELECT {_columns(kind)} FROM {_source(kind, newest is not None)} "
            f"WHERE {' AND '.join(where)} ORDER BY r.seq",
            ns=self._space.ns,
            keys=keys_listed(problems or ()),
            ids=ids_listed(ids or ()),
            newest=max(1, newest or 1),
        )
        return revived(kind, rows, self._server.shown)

    def _read_problems(self, problem_ids: Sequence[str] | None) -> list[Any]:
        some = "" if problem_ids is None else f"AND p.key {_KEYS}"
        rows = self._rows(
            f"SELECT {_PROBLEM} FROM lanpo.problem p WHERE p.ns = %(ns)s AND {_HELD} {some} "
            "ORDER BY p.rid",
            ns=self._space.ns,
            keys=keys_listed(problem_ids or ()),
        )
        return [revived_problem(row, self._server.shown) for row in rows]

    def scan(self, kind: Any, *, newest_first: bool = False) -> Iterator[Any]:
        """See `ExperienceStore.scan`."""
        if kind not in TYPES:
            raise unknown_kind(kind)
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        # No lesson: what is scanned is checked, and its ids are made from what it says.
        columns = _columns(kind).replace("r.lesson", "NULL")
        # The page comes first, and what belongs to it is looked up: never the whole pool joined.
        page = (
            f"(SELECT * FROM lanpo.{kind} WHERE ns = %(ns)s AND seq {beyond} %(last)s "
            f"ORDER BY seq {order} LIMIT {_PAGE}) r"
        )
        join = "JOIN lanpo.problem p ON p.ns = r.ns AND p.rid = r.rid" if kind in OF_PROBLEM else ""
        sql = f"SELECT {columns} FROM {page} {join} ORDER BY r.seq {order}"
        last = 2**62 if newest_first else 0
        while True:
            rows = self._rows(sql, ns=self._space.ns, last=last)
            yield from revived(kind, rows, self._server.shown)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def count(self, kind: str) -> int:
        """See `ExperienceStore.count`."""
        if kind == "problem":
            sql = f"SELECT count(*) FROM lanpo.problem p WHERE p.ns = %(ns)s AND {_HELD}"
        elif kind == "experience":
            sql = "SELECT experiences FROM lanpo.namespace WHERE ns = %(ns)s"
        elif kind in TYPES:
            sql = f"SELECT count(*) FROM lanpo.{kind} WHERE ns = %(ns)s"
        else:
            raise unknown_kind(kind)
        rows = self._rows(sql, ns=self._space.ns)
        if not rows:
            raise self._space.gone()
        return int(rows[0][0])

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """See `ExperienceStore.changes`. Lines are numbered without gaps, in order of commit."""
        rows = self._rows(
            "SELECT n.head, c.seq, c.op, c.kind, c.id, c.pid FROM lanpo.namespace n "
            "LEFT JOIN LATERAL (SELECT * FROM lanpo.change c WHERE c.ns = n.ns "
            "AND c.seq > %(since)s ORDER BY c.seq LIMIT %(limit)s) c ON true "
            "WHERE n.ns = %(ns)s ORDER BY c.seq",
            since=since,
            limit=limit,
            ns=self._space.ns,
        )
        if not rows:
            raise self._space.gone()
        lines = (row[1:] for row in rows if row[1] is not None)
        return Changes(tuple(map(Change._make, lines)), rows[0][0])

    def wait(self, since: int, timeout_s: float) -> bool:
        """Wait until the change log goes beyond line `since`; tell whether it does.

        The server tells of commits. Where it cannot, because the connection breaks, the log is
        looked at every now and then.
        """
        return wait(
            self._server,
            self._space.channel,
            lambda: self.changes(since, limit=0).head > since,
            timeout_s,
        )

    # ------------------------------------------------------------------ cache

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `ExperienceStore.cached`."""
        hashes = [key_of(key) for key in keys]

        def look_up(db: Connection[Any]) -> dict[int, bytes]:
            sql = (
                "SELECT k.place, c.value FROM unnest(string_to_array(%s, ',')::uuid[]) "
                "WITH ORDINALITY k (key, place) JOIN lanpo.cached c USING (key)"
            )
            return dict(db.execute(sql, (",".join(hashes),), binary=True).fetchall())

        found = self._server.read(look_up)
        return [found.get(place) for place, _ in enumerate(keys, 1)]

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """See `ExperienceStore.cache`."""
        # Sorted: two processes that store the same keys lock them in the same order.
        rows = sorted({key_of(key): value for key, value in items}.items())

        def store(db: Connection[Any]) -> None:
            with db.transaction():
                for start in range(0, len(rows), _CACHED_AT_ONCE):
                    part = rows[start : start + _CACHED_AT_ONCE]
                    db.execute(
                        "INSERT INTO lanpo.cached SELECT * FROM "
                        "unnest(string_to_array(%s, ',')::uuid[], %b::bytea[]) "
                        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        (",".join(key for key, _ in part), [value for _, value in part]),
                    )

        if rows:
            self._server.write(store)

    # ------------------------------------------------------------------ rows

    def _rows(self, sql: str, **arguments: Any) -> list[Any]:
        return self._server.read(lambda db: db.execute(sql, arguments).fetchall())


def _columns(kind: str) -> str:
    if kind not in OF_PROBLEM:
        return _PAYLOAD
    lesson = "r.lesson" if kind == "experience" else "NULL"
    return f"{_PAYLOAD}, {lesson}, p.rid, {_PROBLEM}"


def _source(kind: str, newest: bool) -> str:
    if kind not in OF_PROBLEM:
        return f"lanpo.{kind} r"
    of_problem = f"lanpo.{kind} r WHERE r.ns = p.ns AND r.rid = p.rid"
    if newest:
        return (
            f"lanpo.problem p CROSS JOIN LATERAL (SELECT * FROM {of_problem} "
            "ORDER BY r.seq DESC LIMIT %(newest)s) r"
        )
    return f"lanpo.problem p JOIN {of_problem.replace('WHERE', 'ON')}"
