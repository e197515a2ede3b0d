"""Servers restart, connections break, users may not: right receipts and typed errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lanpo_memory import Batch, Experience, ExperienceMetadata, Limits, Problem, open_pool
from lanpo_memory.errors import (
    InvalidInputError,
    PoolBusyError,
    PoolConnectionError,
    PoolFormatError,
    PoolFullError,
    PoolNotFoundError,
    PoolReadOnlyError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.stores.postgres import PostgresStore
from lanpo_memory.stores.postgres_transaction import Transaction
from tests.memory.postgres_server import Cluster, postgres_server, postgres_url, run

__all__ = ["postgres_server", "postgres_url"]
pytestmark = pytest.mark.server

LIMITS = Limits(capacity=3, per_step=None)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url, timeout_s=30)
    yield store
    store.close()


def batch(n: int) -> Batch:
    """Additions, a duplicate and evictions."""
    new = [
        Experience(
            problem=Problem(text=f"problem {i % 2}"),
            thoughts=f"batch {n}, lesson {i}",
            metadata=ExperienceMetadata(step=n),
        )
        for i in range(5)
    ]
    return Batch(experiences=(*new, new[4]), now=1.0)


def write(store: Any, n: int) -> list[str]:
    return [receipt.status for receipt in store.write(batch(n), limits=LIMITS)]


STATUSES = ["added", "added", "added", "added", "added", "duplicate"]


def undisturbed(batches: int) -> str:
    with open_pool("memory:", limits=LIMITS) as pool:
        for n in range(batches):
            pool.write(batch(n))
        return pool.digest()


def digest(url: str) -> str:
    with open_pool(url, limits=LIMITS) as pool:
        return pool.digest()


def assert_log_has_no_gap(store: PostgresStore) -> None:
    changes = store.changes(0)
    assert [line.seq for line in changes.items] == list(range(1, changes.head + 1))


def ended(url: str, pid: int) -> None:
    """End a session from outside, and wait until it is gone."""
    run(url, "SELECT pg_terminate_backend(%s, 20000)", (pid,))


# ---------------------------------------------------------------------- broken connections


def before(original: Callable[..., Any], url: str) -> Callable[..., Any]:
    def broken(self: Transaction, *args: Any, **named: Any) -> Any:
        db = args[0] if args and hasattr(args[0], "info") else self.db
        ended(url, db.info.backend_pid)
        return original(self, *args, **named)

    return broken


def after(original: Callable[..., Any], url: str) -> Callable[..., Any]:
    """Everything is done, and nothing is heard of it."""
    import psycopg

    def broken(self: Transaction, *args: Any, **named: Any) -> Any:
        original(self, *args, **named)
        db = self.db
        ended(url, db.info.backend_pid)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    return broken


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("moment", [before, after])
@pytest.mark.parametrize("step", ["__init__", "copy", "log", "commit"])
def test_a_write_whose_connection_breaks_is_there_once_with_the_right_receipts(
    store: PostgresStore,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    moment: Callable[..., Any],
    times: int,
):
    write(store, 0)
    original, left = getattr(Transaction, step), [times]
    breaking = moment(original, postgres_url)

    def sometimes(self: Transaction, *args: Any, **named: Any) -> Any:
        if not left[0]:
            return original(self, *args, **named)
        left[0] -= 1
        return breaking(self, *args, **named)

    monkeypatch.setattr(Transaction, step, sometimes)
    assert write(store, 1) == STATUSES
    # A try whose commit was not heard of is looked for, not done again.
    assert left[0] == (times - 1 if (step, moment) == ("commit", after) else 0)
    monkeypatch.undo()
    assert write(store, 1)[-1] == "duplicate"
    assert_log_has_no_gap(store)
    assert digest(postgres_url) == undisturbed_twice()


def undisturbed_twice() -> str:
    with open_pool("memory:", limits=LIMITS) as pool:
        for n in (0, 1, 1):
            pool.write(batch(n))
        return pool.digest()


def lock_of(store: PostgresStore) -> int:
    return store._space.lock


def test_a_commit_that_is_still_under_way_is_waited_for(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The connection breaks, and the server does not know yet: the old session holds the lock."""
    import psycopg

    original, aside = Transaction.commit, psycopg.connect(postgres_url, autocommit=True)
    unheard = threading.Event()

    def commit(self: Transaction) -> None:
        original(self)
        if not unheard.is_set():
            aside.execute("BEGIN")
            aside.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(store),))
            unheard.set()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Transaction, "commit", commit)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write, store, 0)
        assert unheard.wait(20)
        until(lambda: run(postgres_url, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        assert not writing.done()
        aside.execute("COMMIT")
        assert writing.result(20) == STATUSES
    aside.close()
    assert store.changes(0).head == 5
    assert store.count("experience") == 5


def test_a_commit_whose_fate_cannot_be_found_out_is_a_typed_error(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    import psycopg

    store = PostgresStore(postgres_url, timeout_s=0.3)
    original, aside = Transaction.commit, psycopg.connect(postgres_url, autocommit=True)

    def commit(self: Transaction) -> None:
        original(self)
        aside.execute("BEGIN")
        aside.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(store),))
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Transaction, "commit", commit)
    with pytest.raises(PoolConnectionError, match=r"could not be found out.*add it again"):
        write(store, 0)
    aside.close()
    monkeypatch.undo()
    assert write(store, 0) == ["duplicate"] * 6
    store.close()


def until(true: Callable[[], Any], timeout_s: float = 30) -> None:
    """Ask again until it is so."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.01)


def test_reads_outside_a_view_are_done_again(store: PostgresStore, postgres_url: str):
    write(store, 0)
    for _ in range(3):
        end_all(postgres_url)
        assert len(store.read("experience")) == store.count("experience") == 5
    end_all(postgres_url)
    scan = store.scan("experience")
    assert next(scan).thoughts == "batch 0, lesson 0"
    with store.view():
        assert store.count("experience") == 5
    store.cache([("a", b"1")])
    end_all(postgres_url)
    assert store.cached(["a"]) == [b"1"]


def end_all(url: str) -> None:
    run(
        url,
        "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )


def test_a_view_that_lost_its_connection_says_so_and_the_next_one_works(
    store: PostgresStore, postgres_url: str
):
    write(store, 0)
    with store.view():
        assert store.count("experience") == 5
        end_all(postgres_url)
        for _ in range(2):  # it is not by chance on a new connection then
            with pytest.raises(PoolConnectionError, match="try again"):
                store.read("experience")
    with store.view():
        assert store.count("experience") == 5


def test_whoever_waits_survives_a_broken_connection(store: PostgresStore, postgres_url: str):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(store.wait, 0, 60)
        until(
            lambda: run(postgres_url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        )
        end_all(postgres_url)
        write(store, 0)
        assert waiting.result(30)


# ---------------------------------------------------------------------- restarts


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_server_that_restarts_between_writes_is_waited_for(
    postgres_server: Cluster, store: PostgresStore, postgres_url: str, mode: str
):
    for n in range(3):
        assert write(store, n) == STATUSES
        if mode == "kill":
            postgres_server.kill()
            postgres_server.start()
        else:
            postgres_server.restart(mode)
    assert digest(postgres_url) == undisturbed(3)
    assert_log_has_no_gap(store)


def test_a_server_that_crashes_in_the_middle_of_writes_costs_nothing(
    postgres_server: Cluster, store: PostgresStore, postgres_url: str
):
    done: list[list[str]] = []
    with ThreadPoolExecutor(1) as threads:

        def work() -> None:
            for n in range(60):
                done.append(write(store, n))

        working = threads.submit(work)
        for least in (5, 20, 35):
            until(lambda least=least: len(done) >= least or working.done())
            postgres_server.restart("immediate")
        working.result(120)
    assert done == [STATUSES] * 60
    assert digest(postgres_url) == undisturbed(60)
    assert_log_has_no_gap(store)


def test_a_server_that_stays_away_is_one_typed_error_within_the_time_out(
    postgres_server: Cluster, postgres_url: str
):
    store = PostgresStore(postgres_url, timeout_s=1.0)
    write(store, 0)
    postgres_server.stop("immediate")
    uses: list[Callable[[], Any]] = [
        lambda: write(store, 1),
        lambda: store.read("experience"),
        lambda: store.view().__enter__(),
        lambda: PostgresStore(postgres_url),
    ]
    for use in uses:
        began = time.monotonic()
        with pytest.raises(PoolConnectionError, match="Is the server running"):
            use()
        assert time.monotonic() - began < 20
    postgres_server.start()
    assert write(store, 1) == STATUSES
    store.close()


WRITER = """
import sys
from lanpo_memory.stores.postgres import PostgresStore
from tests.memory.test_postgres_failures import write
store = PostgresStore(sys.argv[1])
for n in range(100_000):
    assert write(store, n) == ["added"] * 5 + ["duplicate"]
    print(n, flush=True)
"""


def test_a_writer_killed_in_the_middle_loses_nothing_that_was_acknowledged(
    store: PostgresStore, postgres_url: str
):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, postgres_url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = -1
    for line in process.stdout:
        last = int(line)
        if last == 20:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.stdout.read().split()
    last = int(rest[-1]) if rest else last
    process.stdout.close()
    process.wait()
    # Whoever writes next waits until the killed one's session is over.
    held = {e.thoughts for e in store.read("experience")}
    batches = 1 + max(int(text.split(",")[0].removeprefix("batch ")) for text in held)
    assert batches in (last + 1, last + 2)
    assert write(store, batches) == STATUSES
    assert digest(postgres_url) == undisturbed(batches + 1)
    assert_log_has_no_gap(store)


MANY = """
import sys
from lanpo_memory import Batch, Experience, Limits, Problem
from lanpo_memory.stores.postgres import PostgresStore
store = PostgresStore(sys.argv[1])
for n in range(25):
    new = Experience(problem=Problem(text=f"problem {n % 5}"), thoughts=f"{sys.argv[2]} {n}")
    receipts = store.write(Batch(experiences=(new,)), limits=Limits(capacity=None, per_step=None))
    assert [r.status for r in receipts] == ["added"], receipts
store.close()
"""


def test_processes_lose_nothing_and_agree(store: PostgresStore, postgres_url: str):
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, postgres_url, str(n)]) for n in range(3)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    held = [e.thoughts for e in store.read("experience")]
    assert sorted(held) == sorted(f"{n} {i}" for n in range(3) for i in range(25))
    for n in range(3):  # each one's own are in its order
        mine = [text for text in held if text.startswith(f"{n} ")]
        assert mine == [f"{n} {i}" for i in range(25)]
    assert_log_has_no_gap(store)


# ---------------------------------------------------------------------- refusals


def test_a_lock_that_is_held_too_long_is_a_typed_error(postgres_url: str):
    import psycopg

    store = PostgresStore(postgres_url, timeout_s=0.2)
    with psycopg.connect(postgres_url) as aside:
        aside.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(store),))
        with pytest.raises(PoolBusyError, match="nothing was written"):
            write(store, 0)
        assert store.count("experience") == 0  # reading does not wait
    assert write(store, 0) == STATUSES
    store.close()


def test_another_thread_that_writes_too_long_is_a_typed_error(postgres_url: str):
    store = PostgresStore(postgres_url, timeout_s=0.2)
    inside, go = threading.Event(), threading.Event()

    def worth(_: str) -> float:
        inside.set()
        assert go.wait(20)
        return 0.0

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(store.write, batch(0), limits=Limits(capacity=1), worth=worth)
        assert inside.wait(20)
        with pytest.raises(PoolBusyError, match="another thread"):
            write(store, 1)
        go.set()
        slow.result(20)
    store.close()


def test_a_worth_that_fails_leaves_everything_as_it_was(store: PostgresStore):
    write(store, 0)
    seen = store.changes(0)

    def worth(_: str) -> float:
        assert store.count("experience") == 5  # it may ask, and the counter is of before
        raise KeyError("lesson")

    with pytest.raises(KeyError):
        store.write(batch(1), limits=Limits(capacity=1), worth=worth)
    assert store.changes(0) == seen
    assert write(store, 1) == STATUSES


@pytest.mark.parametrize("step", ["log", "commit"])
def test_a_full_disk_is_a_typed_error_and_nothing_is_written(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, step: str
):
    full = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
    monkeypatch.setattr(Transaction, step, lambda self: self.db.execute(full))
    with pytest.raises(PoolFullError, match="Make space"):
        write(store, 0)
    monkeypatch.undo()
    assert (store.count("experience"), store.changes(0).head) == (0, 0)
    assert write(store, 0) == STATUSES


@pytest.mark.parametrize(
    ("user", "database", "error", "match"),
    [
        ("postgres", "nowhere", PoolNotFoundError, "createdb"),
        ("nobody", None, PoolConnectionError, "refuses to be opened"),
        ("locked:wrong", None, PoolConnectionError, "Check user and password"),
        ("locked", None, PoolConnectionError, "Check user and password"),
    ],
)
def test_a_log_in_that_is_refused_names_the_remedy_at_once(
    postgres_server: Cluster,
    postgres_url: str,
    user: str,
    database: str | None,
    error: type[Exception],
    match: str,
):
    run(
        postgres_url,
        "DO $$ BEGIN CREATE ROLE locked LOGIN PASSWORD 'right'; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    name = database or postgres_url.rpartition("/")[2]
    with pytest.raises(error, match=match) as raised:
        PostgresStore(postgres_server.url_of(name, user))
    assert "wrong" not in str(raised.value)


def test_a_host_that_does_not_answer_is_a_typed_error(postgres_server: Cluster):
    with pytest.raises(PoolConnectionError, match="cannot be reached"):
        PostgresStore(postgres_server.url.replace(str(postgres_server.port), "1"))


def test_whoever_may_only_read_reads(
    postgres_server: Cluster, store: PostgresStore, postgres_url: str
):
    write(store, 0)
    run(postgres_url, "CREATE ROLE reader LOGIN")
    try:
        url = postgres_url.replace("postgres@", "reader@")
        with pytest.raises(PoolReadOnlyError, match="Ask its owner"):
            PostgresStore(url)
        run(postgres_url, "GRANT USAGE ON SCHEMA lanpo TO reader")
        run(postgres_url, "GRANT SELECT ON ALL TABLES IN SCHEMA lanpo TO reader")
        reader = PostgresStore(url)
        assert reader.read("experience") == store.read("experience")
        with pytest.raises(PoolReadOnlyError, match="permission denied"):
            write(reader, 1)
        with pytest.raises(PoolReadOnlyError, match="permission denied"):
            PostgresStore(url, namespace="new")
        reader.close()
    finally:
        run(postgres_url, "DROP OWNED BY reader")
        run(postgres_url, "DROP ROLE reader")


def test_a_server_that_only_reads_is_a_typed_error(store: PostgresStore, postgres_url: str):
    write(store, 0)
    url = f"{postgres_url}?options=-c%20default_transaction_read_only%3Don"
    reader = PostgresStore(url)
    assert reader.count("experience") == 5
    for use in (lambda: write(reader, 1), lambda: reader.cache([("a", b"1")])):
        with pytest.raises(PoolReadOnlyError, match="read-only transaction"):
            use()
    reader.close()


# ---------------------------------------------------------------------- what is there already


def schemas(url: str) -> list[Any]:
    return run(url, "SELECT nspname FROM pg_namespace WHERE nspname = 'lanpo'")


def test_nothing_is_made_unless_asked_for(postgres_url: str):
    with pytest.raises(PoolNotFoundError, match="there is no pool"):
        PostgresStore(postgres_url, create=False)
    assert schemas(postgres_url) == []
    for name in ("b", "a"):
        PostgresStore(postgres_url, namespace=name).close()
    with pytest.raises(PoolNotFoundError, match=r"no namespace 'c'; it has: 'a', 'b'"):
        PostgresStore(postgres_url, namespace="c", create=False)
    PostgresStore(postgres_url, namespace="a", create=False).close()


def test_an_empty_schema_made_by_an_administrator_is_used(postgres_url: str):
    run(postgres_url, "CREATE SCHEMA lanpo")
    store = PostgresStore(postgres_url)
    assert write(store, 0) == STATUSES
    store.close()


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE lanpo.notes (text text)",
        "CREATE TABLE lanpo.about (text text); INSERT INTO lanpo.about VALUES ('hello')",
        "CREATE TABLE lanpo.about (application text, version int)",
        "CREATE VIEW lanpo.about AS SELECT 'other' AS application, 1 AS version",
    ],
)
def test_another_schema_of_the_name_is_left_alone(postgres_url: str, made: str):
    run(postgres_url, "CREATE SCHEMA lanpo")
    for statement in made.split("; "):
        run(postgres_url, statement)
    before = run(postgres_url, "SELECT relname FROM pg_class ORDER BY 1")
    with pytest.raises(PoolFormatError, match="not touched"):
        PostgresStore(postgres_url)
    assert run(postgres_url, "SELECT relname FROM pg_class ORDER BY 1") == before


def test_a_pool_that_lost_a_table_is_named(postgres_url: str):
    PostgresStore(postgres_url).close()
    run(postgres_url, "DROP TABLE lanpo.attempt")
    with pytest.raises(PoolFormatError, match=r"lacks tables of a pool \(attempt\)"):
        PostgresStore(postgres_url)


def test_a_newer_pool_is_refused_untouched(postgres_url: str):
    PostgresStore(postgres_url).close()
    run(postgres_url, "UPDATE lanpo.about SET version = 99")
    with pytest.raises(PoolVersionError, match="pip install -U lanpo"):
        PostgresStore(postgres_url)
    assert run(postgres_url, "SELECT version FROM lanpo.about") == [(99,)]


def test_a_database_in_another_encoding_is_refused(postgres_server: Cluster):
    name = f"latin_{os.getpid()}"
    run(
        postgres_server.url,
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    try:
        with pytest.raises(PoolFormatError, match="createdb -E UTF8"):
            PostgresStore(postgres_server.url_of(name))
    finally:
        run(postgres_server.url, f"DROP DATABASE {name}")


def test_a_namespace_that_is_gone_is_named(store: PostgresStore, postgres_url: str):
    run(postgres_url, "DELETE FROM lanpo.namespace")
    for use in (
        lambda: write(store, 0),
        lambda: store.changes(0),
        lambda: store.count("experience"),
    ):
        with pytest.raises(PoolNotFoundError, match="open the pool again"):
            use()


def test_what_the_tables_cannot_hold_is_refused_whole(store: PostgresStore, postgres_url: str):
    run(postgres_url, "ALTER TABLE lanpo.change ADD CONSTRAINT c CHECK (op != 'evict')")
    with pytest.raises((PoolWriteError, InvalidInputError), match="nothing was written"):
        write(store, 0), write(store, 1)
    assert store.count("experience") in (0, 5)
