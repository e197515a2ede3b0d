"""The store in a folder of Chroma's: what it promises beyond the conformance kit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import (
    InvalidInputError,
    MissingExtraError,
    PoolBusyError,
    PoolClosedError,
    PoolConnectionError,
    PoolDamagedError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.pool import open_pool
from lanpo_memory.stores import chroma_log
from lanpo_memory.stores.chroma import ChromaStore
from lanpo_memory.stores.chroma_names import log_name
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
)
from tests.memory.chroma_server import chroma_installed
from tests.memory.chroma_worker import BATCH, batch

__all__ = ["chroma_installed"]  # a fixture

pytestmark = pytest.mark.usefixtures("chroma_installed")

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)


def worker(what: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.memory.chroma_worker", what, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """Kill it and return what it had still said."""
    process.kill()
    rest, _ = process.communicate()
    return rest


def killed_while_writing(url: str, steps: int) -> int:
    """Let another process write, kill it in the middle; return the last step it was sure of."""
    process = worker("write", url)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(steps)]
    rest = end(process)
    # The last line may be cut; a step that was said is one that was acknowledged.
    return int([*lines, *rest.splitlines(keepends=True)][-1])


def assert_whole(store: ChromaStore, acknowledged: int) -> None:
    steps = Counter(e.metadata.step for e in store.read("experience"))
    assert set(steps.values()) == {BATCH}
    assert set(range(acknowledged + 1)) <= set(steps)


def history(url: str, folder: Path) -> list[object]:
    """What a pool says after the same things were done to it."""
    problems = [Problem(text=f"Wie viele Äpfel sind {n} Äpfel?", family="é") for n in range(6)]

    def lessons(step: int) -> list[Experience]:
        return [
            Experience(problem=p, thoughts=f"{step} {p.text}", principles=("a\u2028b", f"{step}"))
            for p in problems[step % 3 :]
        ]

    said: list[object] = []
    with open_pool(url, limits=Limits(capacity=3), clock=lambda: 1.0) as pool:
        for step in range(5):
            receipts = pool.add(lessons(step) + lessons(0))
            said.append([r.status for r in receipts])
            pool.write(
                Batch(
                    attempts=(Attempt(problem=problems[step], text=f"try {step}"),),
                    exposures=(Exposure(problem_id="p", lesson_ids=("l",), step=step),),
                    failures=(FailedAnswer(role="r", problem_id="", text="t", reason="?"),),
                    deletions=(receipts[-1].id, "unknown"),
                )
            )
            said.append(pool.digest())
        kept = pool.snapshot(folder)
        pool.add([Experience(problem=Problem(text="later"), thoughts="x")])
        said += [pool.digest(), pool.stats()]
    with open_pool(url, limits=Limits(capacity=3), create=False) as pool:
        said += [pool.digest(), pool.store.read("problem")]
        pool.restore(kept)
        said += [pool.digest(), len(pool), list(map(pool.attempts, problems)), pool.utility()]
        said.append([[h.experience for h in hits] for hits in pool.retrieve(problems[:3])])
    return said


def test_a_pool_in_a_folder_is_the_same_pool_as_in_sqlite(tmp_path):
    expected = history(str(tmp_path / "pool.db"), tmp_path)
    assert history(f"chroma:///{tmp_path}/pool", tmp_path) == expected


def test_the_change_log_has_the_same_numbers_when_the_folder_is_opened_again(tmp_path):
    with open_pool(f"chroma:///{tmp_path}/pool", limits=Limits(capacity=1)) as pool:
        for step in range(3):
            pool.add(batch(step))
        before = pool.store.changes(0)
    assert [c.seq for c in before.items] == list(range(1, before.head + 1))
    with open_pool(f"chroma:///{tmp_path}/pool") as pool:
        assert pool.store.changes(0) == before


def test_a_second_opener_is_told_who_has_the_folder_and_what_to_do(tmp_path):
    url = f"chroma:///{tmp_path}/pool"
    with open_pool(url):
        with pytest.raises(PoolBusyError, match=r"this process has .*chroma run --path"):
            open_pool(url)
        process = worker("open", url)
        said, _ = process.communicate()
        assert f"PoolBusyError process {os.getpid()} has" in said
        assert "chroma+http://" in said
    open_pool(url).close()


def test_a_killed_writer_leaves_whole_batches_and_a_free_folder(tmp_path):
    url = f"chroma:///{tmp_path}/pool"
    acknowledged = killed_while_writing(url, steps=5)
    with open_pool(url) as pool:
        assert_whole(pool.store, acknowledged)
        pool.add(batch(1_000))
        assert_whole(pool.store, acknowledged)
        assert_tidy(pool.store)


def assert_tidy(store: ChromaStore) -> None:
    """Nothing lies in the collection that no commit names."""
    replica = store._replica
    expected = len(replica.living.tokens) + len(replica.tokens) + replica.parts
    assert store._log.size() == expected + store._log.leases()


@pytest.fixture
def store(tmp_path):
    store = ChromaStore.embedded(tmp_path / "pool")
    yield store
    store.close()


def write(store: ChromaStore, step: int, limits: Limits = NO_LIMITS) -> list[str]:
    receipts = store.write(Batch(experiences=tuple(batch(step))), limits=limits)
    return [r.status for r in receipts]


def test_what_was_stored_without_a_commit_is_not_seen_and_is_swept(store, tmp_path, monkeypatch):
    write(store, 0)
    with monkeypatch.context() as broken:

        def refuse(*_):
            raise PoolWriteError("the disk is full")

        broken.setattr(store._log, "append", refuse)
        with pytest.raises(PoolWriteError, match="disk is full"):
            write(store, 1)
    assert store.count("experience") == BATCH
    assert store._log.size() > 2 * BATCH
    head = store.changes(0, limit=0).head
    assert write(store, 1) == ["added"] * BATCH
    assert store.changes(head).items[0].seq == head + 1
    assert_tidy(store)


def test_a_commit_whose_answer_was_lost_counts_and_brings_its_receipts(store, monkeypatch):
    original = store._log.append

    def lose_the_answer(commit):
        original(commit)
        raise PoolConnectionError("gone")

    monkeypatch.setattr(store._log, "append", lose_the_answer)
    assert write(store, 0) == ["added"] * BATCH
    assert store.count("experience") == BATCH


def test_a_write_that_is_interrupted_after_its_commit_is_seen_by_the_next_read(store, monkeypatch):
    original = store._log.append

    def interrupt(commit):
        original(commit)
        raise KeyboardInterrupt

    monkeypatch.setattr(store._log, "append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(store, 0)
    assert store.count("experience") == BATCH


def test_evicted_records_that_cannot_be_removed_now_are_swept_later(store, monkeypatch):
    write(store, 0)
    with monkeypatch.context() as broken:

        def refuse(*_):
            raise PoolWriteError("not now")

        broken.setattr(store._log, "delete", refuse)
        assert write(store, 1, Limits(capacity=1)) == ["added"] * BATCH
    assert write(store, 2, Limits(capacity=1)) == ["added"] * BATCH
    assert store.count("experience") == BATCH
    assert_tidy(store)


def test_a_lost_record_is_named_and_nothing_is_guessed(store, tmp_path):
    write(store, 0)
    keys = [key for key in sorted(store._log.keys()) if key.startswith("experience:")]
    store._log.delete(keys[:1])
    store.close()
    with pytest.raises(PoolDamagedError, match="names 1 records that are not there"):
        ChromaStore.embedded(tmp_path / "pool")


def test_nothing_is_written_behind_a_gap_in_the_log(store, tmp_path):
    write(store, 0)
    write(store, 1)
    store._log.delete([f"commit-{len(store._replica.tokens):012d}"])  # as an older copy would
    with pytest.raises(PoolDamagedError, match="open the pool again"):
        write(store, 2)
    store.close()
    store = ChromaStore.embedded(tmp_path / "pool")
    assert store.count("experience") == BATCH
    assert write(store, 2) == ["added"] * BATCH
    assert_tidy(store)
    store.close()


def test_other_tools_find_flat_readable_records(store):
    write(store, 3)
    rows = store.place.get("lanpo").get(where={"kind": "experience"})
    assert len(rows["ids"]) == BATCH
    assert {m["step"] for m in rows["metadatas"]} == {3}
    assert all('"thoughts":"step 3"' in document for document in rows["documents"])
    everything = store.place.get("lanpo").get()
    assert all(
        value is not None and isinstance(value, str | int | float | bool)
        for metadata in everything["metadatas"]
        for value in metadata.values()
    )


def test_chroma_reports_nothing_to_anybody(store):
    assert store.place._client.get_settings().anonymized_telemetry is False


def test_batches_and_commits_larger_than_a_request_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(chroma_log, "_CONTENT", 300)
    monkeypatch.setattr(chroma_log, "_IDS_AT_ONCE", 7)
    with open_pool(f"chroma:///{tmp_path}/pool") as pool:
        pool.store.place.max_batch = 5
        lessons = [Experience(problem=Problem(text=f"p{n}"), thoughts="x") for n in range(23)]
        pool.add(lessons)
        pool.add(batch(0))
        digest = pool.digest()
        assert_tidy(pool.store)
    with open_pool(f"chroma:///{tmp_path}/pool") as pool:
        assert pool.digest() == digest
        assert pool.get([e.id for e in lessons])[22].problem.text == "p22"


@pytest.mark.parametrize("namespace", ["größe", "日本語", "a b", "A.B", "default ", "x" * 300, "-"])
def test_any_text_names_a_namespace(tmp_path, namespace):
    with open_pool(f"chroma:///{tmp_path}/pool", namespace=namespace) as pool:
        pool.add(batch(0))
    with open_pool(f"chroma:///{tmp_path}/pool") as pool:
        assert len(pool) == 0
    with open_pool(f"chroma:///{tmp_path}/pool", namespace=namespace, create=False) as pool:
        assert len(pool) == BATCH


def test_names_of_namespaces_do_not_meet():
    names = {log_name(c, n) for c in ("aaa", "aaa.b") for n in ("b", "b.c", "B", "b c", "b-c")}
    assert len(names) == 10


def test_a_namespace_that_is_not_there_is_not_made_and_the_known_ones_are_named(tmp_path):
    folder = tmp_path / "pool"
    for namespace in ("default", "größe"):
        ChromaStore.embedded(folder, namespace=namespace).close()
    with pytest.raises(PoolNotFoundError, match="it has: 'default', 'größe'"):
        ChromaStore.embedded(folder, namespace="other", create=False)
    with pytest.raises(PoolNotFoundError, match="it has: none"):
        ChromaStore.embedded(folder, collection="other", create=False)


def test_what_is_no_folder_of_chromas_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "chroma.sqlite3").write_bytes(b"no database" * 500)
    for name in ("file", "full", "odd"):
        with pytest.raises(PoolFormatError):
            ChromaStore.embedded(tmp_path / name)
    with pytest.raises(PoolNotFoundError):
        ChromaStore.embedded(tmp_path / "not" / "there")
    with pytest.raises(PoolNotFoundError):
        ChromaStore.embedded(tmp_path / "new", create=False)
    assert not (tmp_path / "new").exists()


def test_collections_of_others_and_of_newer_code_are_refused_untouched(tmp_path):
    place = ChromaPlace.folder(tmp_path / "pool")
    theirs = place.made("theirs", {"what": "documents"})
    theirs.add(ids=["1"], documents=["x"], embeddings=[[1.0]])
    place.made("newer", {"format": "lanpo-pool", "version": 99})
    with pytest.raises(PoolFormatError, match="not a pool"):
        ChromaStore(place, collection="theirs")
    with pytest.raises(PoolVersionError, match="pip install -U"):
        ChromaStore(place, collection="newer")
    ChromaStore(place, collection="mine")
    ChromaStore(place, collection="mine", namespace="x").cache([("k", b"v")])
    for name in (log_name("mine", "x"), "mine.cache"):
        with pytest.raises(PoolFormatError, match="belongs to another pool"):
            ChromaStore(place, collection=name)
    assert theirs.count() == 1
    place.close()


@pytest.mark.parametrize("name", ["", "ab", "a b", ".abc", "abc-", "é" * 4, "x" * 513])
def test_a_collection_that_chroma_would_refuse_is_refused_at_once(tmp_path, name):
    with pytest.raises(InvalidInputError, match="collection"):
        ChromaStore.embedded(tmp_path / "pool", collection=name)


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chromadb", None)
    with pytest.raises(MissingExtraError, match=r"lanpo\[chroma\]"):
        open_pool(f"chroma:///{tmp_path}/pool")
    assert not (tmp_path / "pool").exists()


def test_a_closed_store_says_so(tmp_path):
    store = ChromaStore.embedded(tmp_path / "pool")
    store.close()
    store.close()
    for use in (
        lambda: store.count("experience"),
        lambda: store.cached(["k"]),
        lambda: store.cache([("k", b"v")]),
        lambda: write(store, 0),
    ):
        with pytest.raises(PoolClosedError):
            use()


def test_cached_bytes_are_shared_by_namespaces_and_kept(tmp_path):
    url = f"chroma:///{tmp_path}/pool"
    with open_pool(url) as pool:
        assert pool.store.cached(["k", "k"]) == [None, None]
        pool.store.cache([("k", b"old"), ("k", b"\0\xff"), ("", b""), ("é" * 500, b"x")])
        assert pool.store.cached([]) == []
    with open_pool(url, namespace="other") as pool:
        assert pool.store.cached(["k", "", "?", "é" * 500]) == [b"\0\xff", b"", None, b"x"]


def test_within_a_view_nothing_is_written_and_another_thread_waits(store):
    write(store, 0)
    done = threading.Event()

    def write_then_tell():
        write(store, 1)
        done.set()

    with store.view():
        with pytest.raises(PoolWriteError, match="view"):
            write(store, 2)
        thread = threading.Thread(target=write_then_tell)
        thread.start()
        assert store.count("experience") == len(store.read("experience")) == BATCH
        assert not done.wait(0.05)
    thread.join()
    assert store.count("experience") == 2 * BATCH


def test_a_view_is_left_before_the_pool_is_closed(store):
    with store.view(), pytest.raises(PoolWriteError, match="close it after it"):
        store.close()
    assert store.count("experience") == 0


def test_what_was_weighed_before_another_process_wrote_is_not_written_behind_it(tmp_path):
    owner = ChromaPlace.folder(tmp_path / "folder")
    shared = ChromaPlace(owner._client, "a server")  # without the lock: as two processes see one
    now = [1_000.0]
    first, second = (ChromaStore(shared, clock=lambda: now[0], lease_s=30.0) for _ in range(2))
    write(first, 0)
    goes = Batch(deletions=(first.read("experience")[0].id,))
    staged = first._replica.store.staged

    def while_another_takes_over():
        draft = staged()
        weigh = draft.write

        def slowly(*args, **options):
            receipts = weigh(*args, **options)
            now[0] += 1_000.0
            assert second.write(goes, limits=NO_LIMITS)[0].reason == "deleted"
            assert first.count("experience") == BATCH - 1  # as a thread that reads would
            return receipts

        draft.write = slowly
        return draft

    first._replica.store.staged = while_another_takes_over
    with pytest.raises(PoolBusyError, match="at the same moment; nothing of this batch"):
        first.write(goes, limits=NO_LIMITS)
    assert [c.op for c in first.changes(0).items].count("delete") == 1
    assert first.changes(0) == second.changes(0)
    owner.close()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_process_that_was_forked_is_refused_and_does_not_keep_the_folder(tmp_path):
    store = ChromaStore.embedded(tmp_path / "folder")
    write(store, 0)
    ended, told = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            for use in (lambda: write(store, 1), lambda: store.count("experience")):
                with pytest.raises(PoolClosedError, match="forked from it; open the pool again"):
                    use()
            store.close()
            os.close(told)
            os.read(ended, 1)  # until the parent is done
            status = 0
        finally:  # nothing may run on in a forked child
            os._exit(status)
    os.close(ended)
    assert write(store, 1) == ["added"] * BATCH  # closing it there did nothing here
    store.close()
    with open_pool(f"chroma:///{tmp_path}/folder") as again:
        assert len(again) == 2 * BATCH
    os.close(told)
    assert os.waitpid(child, 0)[1] == 0
