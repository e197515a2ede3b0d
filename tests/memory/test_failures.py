"""What the disk, the file system and other programs can do: one typed error each, nothing lost."""

from __future__ import annotations

import os
import sqlite3
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lanpo_memory import Experience, Problem, open_pool
from lanpo_memory.errors import (
    PoolBusyError,
    PoolClosedError,
    PoolDamagedError,
    PoolError,
    PoolFileSystemError,
    PoolFormatError,
    PoolFullError,
    PoolNotFoundError,
    PoolReadOnlyError,
    PoolWriteError,
)
from lanpo_memory.stores import SQLiteStore
from lanpo_memory.stores.file_systems import refuse_network


def lesson(i: int, size: int = 400) -> Experience:
    return Experience(problem=Problem(text=f"red apples in a box {i}"), thoughts=f"{i} " * size)


def in_a_process_that_is_not_root(check: Callable[[], None]) -> None:
    """Run a check where permissions mean something; as an ordinary user that is right here."""
    if os.geteuid() != 0:
        check()
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            check()
            status = 0
        finally:  # nothing may run on in a forked child
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_full_disk_rolls_the_batch_back_and_keeps_what_was_acknowledged(tmp_path: Path):
    with open_pool(tmp_path / "pool.db") as pool:
        pool.add([lesson(i) for i in range(20)])
        before = pool.digest()
        # The page limit is the disk's end as SQLite sees it: the same error, on any machine.
        db = pool.store._file.db()
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(PoolFullError, match=r"is full.*Make space"):
            pool.add([lesson(i) for i in range(100, 200)])
        assert pool.digest() == before
        assert len(pool) == 20
        db.execute(f"PRAGMA max_page_count = {pages + 4000}")
        assert {r.status for r in pool.add([lesson(i) for i in range(100, 200)])} == {"added"}
    with open_pool(tmp_path / "pool.db") as pool:
        assert len(pool) == 120


def test_a_full_disk_leaves_the_old_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool = open_pool("memory:")
    pool.add([lesson(1)])
    path = pool.snapshot(tmp_path / "s.jsonl")
    before = path.read_bytes()
    pool.add([lesson(2)])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PoolWriteError, match="No space left on device"):
        pool.snapshot(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_may_not_be_written(tmp_path: Path):
    path = tmp_path / "pool.db"
    open_pool(path).close()

    def check() -> None:
        with pytest.raises(PoolReadOnlyError, match="may not be written"):
            open_pool(path)
        with pytest.raises(PoolReadOnlyError):
            open_pool(tmp_path / "new.db")
        with pytest.raises(PoolWriteError):
            open_pool("memory:").snapshot(tmp_path / "s.jsonl")

    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o555)
    path.chmod(0o444)
    try:
        in_a_process_that_is_not_root(check)
    finally:
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)


def test_a_file_that_may_not_be_read(tmp_path: Path):
    path = tmp_path / "pool.db"
    open_pool(path).close()
    path.chmod(0o000)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)

    def check() -> None:
        with pytest.raises(PoolReadOnlyError, match="cannot be read"):
            open_pool(path)

    in_a_process_that_is_not_root(check)


def test_a_file_that_another_program_holds(tmp_path: Path):
    path = tmp_path / "pool.db"
    open_pool(path).close()
    with SQLiteStore(path, timeout_s=0.1)._file.transaction(), open_pool(path) as pool:
        pool.store._file.db().execute("PRAGMA busy_timeout = 100")
        with pytest.raises(PoolBusyError, match="nothing was written, try again"):
            pool.add([lesson(1)])
        assert len(pool) == 0  # reading goes on
    with open_pool(path) as pool:
        assert pool.add([lesson(1)])[0].status == "added"


def test_a_corrupt_page_is_named_and_the_file_is_not_touched(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as pool:
        pool.add([lesson(i) for i in range(200)])
    damaged = bytearray(path.read_bytes())
    for page in range(8, len(damaged) // 4096 - 1):
        damaged[page * 4096 : page * 4096 + 64] = os.urandom(64)
    path.write_bytes(damaged)
    with (
        pytest.raises(PoolDamagedError, match=r"is damaged.*restore a snapshot"),
        open_pool(path) as pool,
    ):
        pool.digest()
    assert path.read_bytes() == damaged


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as pool:
        pool.add([lesson(1), lesson(2)])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE experience SET payload = '{\"thoughts\": 7}' WHERE seq = 2")
    with open_pool(path) as pool:
        with pytest.raises(PoolDamagedError, match="experience 2 cannot be read"):
            pool.digest()
        assert pool.get([lesson(1).id])[0] is not None
        with pytest.raises(PoolDamagedError, match="experience 2"):
            pool.get([lesson(2).id])


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("lustre", True),
        ("ext4", False),
        ("overlay", False),
        ("tmpfs", False),
    ],
)
def test_network_file_systems_are_refused(tmp_path: Path, kind: str, refused: bool):
    mounts = tmp_path / "mounts"
    shared = tmp_path / "with blank"
    shared.mkdir()
    escaped = str(shared).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw,vers=4.2 0 0\n")
    refuse_network(tmp_path / "pool.db", mounts)
    if refused:
        with pytest.raises(PoolFileSystemError, match=rf"\({kind}\).*local disk"):
            refuse_network(shared / "pool.db", mounts)
    else:
        refuse_network(shared / "pool.db", mounts)
    refuse_network(shared / "pool.db", tmp_path / "no such file")


def test_the_file_system_is_checked_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Path) -> None:
        raise PoolFileSystemError("network")

    monkeypatch.setattr("lanpo_memory.stores.sqlite_file.refuse_network", refuse)
    with pytest.raises(PoolFileSystemError):
        open_pool(tmp_path / "pool.db")
    assert list(tmp_path.iterdir()) == []


def test_closed_under_the_hands_of_another_thread(tmp_path: Path):
    pool = open_pool(tmp_path / "pool.db")
    pool.add([lesson(i) for i in range(50)])
    started = threading.Event()

    def work() -> None:
        while True:
            pool.retrieve([Problem(text="red apples")])
            started.set()

    with ThreadPoolExecutor() as threads:
        working = threads.submit(work)
        assert started.wait(10)
        pool.close()
        assert isinstance(working.exception(timeout=10), PoolClosedError)


def test_every_error_of_a_pool_is_one_of_ours_and_names_the_path(tmp_path: Path):
    cases: dict[str, type[PoolError]] = {
        "nowhere/pool.db": PoolNotFoundError,
        "folder": PoolFormatError,
        "text.db": PoolFormatError,
        "foreign.db": PoolFormatError,
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("hello")
    with sqlite3.connect(tmp_path / "foreign.db") as db:
        db.execute("CREATE TABLE t (x)")
    for name, error in cases.items():
        with pytest.raises(error, match=name.split("/")[0]):
            open_pool(tmp_path / name)
