"""The store on a Chroma server: one writer, many readers, and a server that goes away."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import PoolBusyError, PoolConnectionError, PoolNotFoundError
from lanpo_memory.pool import open_pool
from lanpo_memory.stores.chroma import ChromaStore
from lanpo_memory.types import Batch, Limits, Promise
from tests.memory.chroma_server import ChromaServer, chroma_installed, chroma_server, chroma_url
from tests.memory.chroma_worker import BATCH, batch
from tests.memory.servers import free_port
from tests.memory.test_chroma import (
    NO_LIMITS,
    assert_tidy,
    assert_whole,
    end,
    history,
    killed_while_writing,
    worker,
    write,
)

__all__ = ["chroma_installed", "chroma_server", "chroma_url"]  # fixtures

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("chroma_installed")]


class Clock:
    """Seconds that pass when told to, or by themselves with every look."""

    def __init__(self, per_look_s: float = 0.0) -> None:
        self.now, self._per_look_s = 1_000.0, per_look_s

    def __call__(self) -> float:
        self.now += self._per_look_s
        return self.now


@pytest.fixture
def connect(chroma_url):
    """Opens stores of one pool, as different processes would, and closes them."""
    parts = urlsplit(chroma_url.removeprefix("chroma+"))
    stores: list[ChromaStore] = []

    def opened(**options):
        store = ChromaStore.server(
            "127.0.0.1", port=parts.port, collection=parts.path.strip("/"), **options
        )
        stores.append(store)
        return store

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def own_server(tmp_path):
    """A server that a test may kill."""
    server = ChromaServer(tmp_path / "server")
    server.folder.mkdir()
    server.start()
    yield server
    server.kill()


def test_a_pool_on_a_server_is_the_same_pool_as_in_sqlite(chroma_url, tmp_path):
    expected = history(str(tmp_path / "pool.db"), tmp_path)
    assert history(chroma_url, tmp_path) == expected


def test_a_reader_in_another_process_agrees_after_every_step(chroma_url):
    with open_pool(chroma_url, limits=Limits(capacity=2)) as pool:
        reader = worker("read", chroma_url)
        try:
            assert reader.stdin is not None
            assert reader.stdout is not None
            assert reader.stdout.readline() == "open\n"
            for step in range(6):
                receipts = pool.add(batch(step))
                if step == 3:
                    pool.delete([receipts[0].id])
                reader.stdin.write("\n")
                reader.stdin.flush()
                head = pool.store.changes(0, limit=0).head
                said = reader.stdout.readline().split()
                assert said == [pool.digest(), str(len(pool)), str(head)]
        finally:
            end(reader)


def test_it_promises_readers_and_they_ask_once_where_nothing_is_new(connect):
    writer, reader = connect(), connect(create=False)
    assert reader.promises == writer.promises
    assert Promise.READERS in reader.promises
    assert Promise.PROCESSES not in reader.promises
    write(writer, 0)
    assert reader.count("experience") == BATCH
    calls = []
    original = reader.place.call
    reader.place.call = lambda *args, **named: calls.append(args) or original(*args, **named)
    reader.read("experience")
    assert len(calls) == 1
    with reader.view():
        reader.read("experience")
        reader.changes(0)
    assert len(calls) == 2


def test_one_writes_at_a_time_and_closing_lets_the_next_one(connect):
    first, second = connect(), connect()
    assert write(first, 0) == ["added"] * BATCH
    with pytest.raises(PoolBusyError, match=r"process \d+ on .* takes one writer"):
        write(second, 1)
    assert second.count("experience") == BATCH
    first.close()
    assert write(second, 1) == ["added"] * BATCH
    assert second.count("experience") == 2 * BATCH
    assert_tidy(second)


def test_a_lease_that_ran_out_is_renewed_unless_somebody_took_over(connect):
    clock = Clock()
    first, second = connect(clock=clock, lease_s=30.0), connect(clock=clock, lease_s=30.0)
    write(first, 0)
    clock.now += 29.0
    with pytest.raises(PoolBusyError, match="ends 1 s from now"):
        write(second, 1)
    clock.now += 100.0
    write(first, 1)  # nobody had come in between
    with pytest.raises(PoolBusyError, match="ends 30 s from now"):
        write(second, 2)
    clock.now += 31.0
    write(second, 2)
    with pytest.raises(PoolBusyError):
        write(first, 3)
    assert first.changes(0) == second.changes(0)
    assert first.count("experience") == 3 * BATCH


def test_a_lease_is_renewed_when_a_third_of_it_is_over(connect):
    clock = Clock()
    first, second = connect(clock=clock, lease_s=30.0), connect(clock=clock, lease_s=30.0)
    for step in range(6):
        write(first, step)
        clock.now += 11.0
    with pytest.raises(PoolBusyError, match="ends 19 s from now"):
        write(second, 0)


def test_a_writer_that_was_replaced_in_the_middle_of_a_batch_loses_it_whole(connect):
    clock = Clock()
    first, second = connect(clock=clock), connect(clock=clock)
    write(first, 0)
    original = first._log.append

    def while_another_takes_over(commit):
        first._log.append = original
        clock.now += 1_000.0
        write(second, 1)  # it sweeps what it finds, too
        original(commit)

    first._log.append = while_another_takes_over
    with pytest.raises(PoolBusyError, match="at the same moment; nothing of this batch"):
        write(first, 2)
    for store in (first, second, connect()):
        assert {e.metadata.step for e in store.read("experience")} == {0, 1}
    write(second, 3)
    assert_tidy(second)


def test_writers_whose_leases_never_hold_lose_nothing_that_was_acknowledged(connect):
    # A clock that runs so fast that a lease is over by the next look: only the log keeps order.
    clock = Clock(per_look_s=0.3)
    stores = [connect(clock=clock, lease_s=1.0) for _ in range(3)]
    acknowledged: list[int] = []

    def keep_writing(number):
        for step in range(number, 30, 3):
            try:
                write(stores[number], step)
            except PoolBusyError:
                continue
            acknowledged.append(step)

    threads = [threading.Thread(target=keep_writing, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += 10.0
    fresh = connect(clock=clock, lease_s=1.0)
    write(fresh, 30)
    acknowledged.append(30)
    for store in (*stores, fresh):
        assert store.changes(0) == fresh.changes(0)
        found = [e.metadata.step for e in store.read("experience")]
        assert sorted(found) == sorted(BATCH * acknowledged)


def test_a_record_that_goes_while_it_is_fetched_is_found_evicted_further_on(connect):
    writer, reader = connect(), connect()
    write(writer, 0)
    original = reader._log.commits

    def then_all_changes(after):
        reader._log.commits = original
        commits = original(after)
        write(writer, 1, Limits(capacity=1))  # evicts what these commits name
        return commits

    reader._log.commits = then_all_changes
    assert {e.metadata.step for e in reader.read("experience")} == {1}
    assert reader.changes(0) == writer.changes(0)


def test_a_writer_that_was_killed_is_replaced_at_once_and_nothing_is_lost(chroma_url):
    acknowledged = killed_while_writing(chroma_url, steps=4)
    with open_pool(chroma_url) as pool:
        assert_whole(pool.store, acknowledged)
        pool.add(batch(1_000))
        assert_whole(pool.store, acknowledged)
        assert_tidy(pool.store)


def test_a_server_that_is_killed_and_started_again_is_written_to_all_the_same(own_server):
    with open_pool(own_server.url("pool"), limits=NO_LIMITS) as pool:
        acknowledged, enough = [], threading.Event()

        def keep_writing():
            for step in range(40):
                pool.add(batch(step))
                acknowledged.append(step)
                if len(acknowledged) == 5:
                    enough.set()

        store = pool.store
        store.place._waits_s = (0.1,) * 300  # a busy machine may be slow to start it
        thread = threading.Thread(target=keep_writing)
        thread.start()
        assert enough.wait(60)
        own_server.kill()
        own_server.start()
        thread.join()
        assert acknowledged == list(range(40))
        assert_whole(store, 39)
    with open_pool(own_server.url("pool")) as pool:
        assert_whole(pool.store, 39)
        assert len(pool) == 40 * BATCH


def test_a_server_that_stays_away_is_a_typed_error_and_leaves_nothing_half_written(own_server):
    options = {"port": own_server.port, "collection": "pool", "waits_s": (0.01,)}
    store = ChromaStore.server("127.0.0.1", **options)
    write(store, 0)
    own_server.kill()
    for use in (
        lambda: store.read("experience"),
        lambda: store.changes(0),
        lambda: store.cached(["k"]),
        lambda: store.cache([("k", b"v")]),
        lambda: write(store, 1),
        lambda: ChromaStore.server("127.0.0.1", **options),
    ):
        with pytest.raises(PoolConnectionError, match="chroma run"):
            use()
    own_server.start()
    assert store.count("experience") == BATCH
    assert write(store, 1) == ["added"] * BATCH
    assert_tidy(store)
    own_server.kill()
    store.close()  # its lease cannot be released; it ends by itself


def test_killing_the_server_in_the_middle_of_a_batch_leaves_it_out_or_whole(own_server):
    store = ChromaStore.server("127.0.0.1", port=own_server.port, collection="pool", waits_s=())
    write(store, 0)
    for where in ("put", "append", "delete"):
        original = getattr(store._log, where)

        def cut(*args, original=original, where=where):
            own_server.kill()
            setattr(store._log, where, original)
            return original(*args)

        setattr(store._log, where, cut)
        before = store.count("experience")
        try:
            written = write(store, before, Limits(capacity=1)) == ["added"] * BATCH
        except PoolConnectionError:
            written = False
        own_server.start()
        steps = {e.metadata.step for e in store.read("experience")}
        assert steps == ({before} if written else steps)
        assert len(store.read("experience")) == BATCH
        write(store, before + 1, Limits(capacity=1))
        assert_tidy(store)
    store.close()


def test_nobody_listens_and_no_such_pool_are_said_apart(chroma_url):
    with pytest.raises(PoolConnectionError, match="chroma run --path FOLDER"):
        open_pool(f"chroma+http://127.0.0.1:{free_port()}/pool")
    with pytest.raises(PoolNotFoundError, match="it has: none"):
        open_pool(chroma_url, create=False)


@pytest.mark.parametrize("status", [200, 401, 404])
def test_what_is_no_chroma_server_is_told_from_one_that_is_away(status):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>" + 1_000 * b" ")

        def log_message(self, *args):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            with pytest.raises(PoolConnectionError, match="not answer as a Chroma server") as e:
                open_pool(f"chroma+http://127.0.0.1:{other.server_address[1]}/pool")
        finally:
            other.shutdown()
            thread.join()
    assert len(str(e.value)) < 300
    with pytest.raises(PoolConnectionError, match=r"http://\[::1\]:\d+ cannot be reached"):
        open_pool(f"chroma+http://[::1]:{free_port()}/pool")


def test_namespaces_of_a_server_never_meet(chroma_url):
    with (
        open_pool(chroma_url, namespace="a") as one,
        open_pool(chroma_url, namespace="b") as two,
    ):
        one.add(batch(0))
        two.add(batch(1))
        two.store.write(Batch(replace=True), limits=NO_LIMITS)
        assert (len(one), len(two)) == (BATCH, 0)


def test_a_folder_that_was_opened_directly_goes_on_behind_a_server(tmp_path):
    with open_pool(f"chroma:///{tmp_path}/server") as pool:
        pool.add(batch(0))
        digest = pool.digest()
    server = ChromaServer(tmp_path / "server")
    server.start()
    try:
        with open_pool(server.url("lanpo")) as pool:
            assert pool.digest() == digest
            pool.add(batch(1))
            digest = pool.digest()
    finally:
        server.stop()
    with open_pool(f"chroma:///{tmp_path}/server") as pool:
        assert pool.digest() == digest
        pool.add(batch(2))
        assert_tidy(pool.store)


def test_a_server_that_hangs_is_asked_once(chroma_server: ChromaServer):
    import httpx

    asked: list[int] = []

    def hangs() -> None:
        asked.append(1)
        raise httpx.ReadTimeout("timed out")

    place = ChromaPlace.server("127.0.0.1", port=chroma_server.port)
    try:
        with pytest.raises(PoolConnectionError, match="timed out"):
            place.call(hangs)
    finally:
        place.close()
    assert len(asked) == 1


def test_a_folder_that_a_server_has_open_is_refused(tmp_path: Path):
    server = ChromaServer(tmp_path / "folder")
    server.start()
    try:
        open_pool(server.url("lanpo")).close()
        with pytest.raises(PoolBusyError, match="is a Chroma server that has"):
            open_pool(f"chroma:///{tmp_path}/folder")
    finally:
        server.stop()
    open_pool(f"chroma:///{tmp_path}/folder", create=False).close()


def test_a_pool_that_is_not_there_names_those_that_are(chroma_server: ChromaServer):
    open_pool(chroma_server.url("that-is-there")).close()
    with pytest.raises(PoolNotFoundError, match=r"Other pools there: .*'that-is-there'"):
        open_pool(chroma_server.url("misspelt"), create=False)
