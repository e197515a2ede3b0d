"""A copy equals its source, whatever interrupts it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from lanpo_memory import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    Guide,
    Limits,
    Problem,
    open_pool,
)
from lanpo_memory.calibration import calibrate_gamma, load_calibration
from lanpo_memory.copying import copy_pool
from lanpo_memory.errors import EmbedderMismatchError, InvalidInputError, PoolError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.snapshots import digest_of
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import FailedAnswer
from tests.memory.conftest import Ran

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None)


def batch_of(n: int, start: int = 0) -> Batch:
    """`n` records of each kind, several of each problem."""
    problems = [Problem(text=f"problem {i % 7}", metadata={"i": i % 7}) for i in range(n)]
    return Batch(
        experiences=tuple(
            Experience(
                problem=problem,
                principles=(f"lesson {start + i}",),
                metadata=ExperienceMetadata(step=i, reward=-0.0 if i % 2 else None),
            )
            for i, problem in enumerate(problems)
        ),
        attempts=tuple(Attempt(problem=p, text=f"try {i}") for i, p in enumerate(problems)),
        exposures=tuple(
            Exposure(problem_id=p.id, lesson_ids=("l",), step=i, guided=(1.0,))
            for i, p in enumerate(problems)
        ),
        failures=tuple(
            FailedAnswer(
                role="summarise",
                problem_id=p.id,
                text=f"? {i}",
                reason="r",
                conversation=[{"z": 1, "role": "user", "content": "c", "a": [1, {"b": None}]}],
            )
            for i, p in enumerate(problems)
        ),
        now=5.0,
    )


def digest(store: ExperienceStore) -> str:
    return digest_of(store.scan("experience"), store.scan("attempt"), store.scan("exposure"))


def same(one: ExperienceStore, two: ExperienceStore) -> bool:
    kinds = ("experience", "attempt", "exposure", "failure")
    return all(list(one.scan(kind)) == list(two.scan(kind)) for kind in kinds)


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    store.write(batch_of(30), limits=NO_LIMITS)
    return store


@pytest.fixture
def target(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "copy.db", namespace="copy")) as store:
        yield store


def test_every_record_comes_along_in_order(source: MemoryStore, target: SQLiteStore):
    seen: list[tuple[int, int]] = []
    done = copy_pool(source, target, chunk=7, progress=lambda n, of: seen.append((n, of)))
    assert (done.written, done.there, done.digest) == (120, 0, digest(source))
    assert same(source, target)
    assert seen[-1] == (120, 120)
    assert [n for n, _ in seen] == sorted(n for n, _ in seen)


def test_nothing_is_evicted_on_the_way(source: MemoryStore, target: SQLiteStore):
    source.write(batch_of(400, start=1_000), limits=NO_LIMITS)
    copy_pool(source, target)
    assert target.count("experience") == 430


@pytest.mark.parametrize("whole", [0, 1, 5, 11, 16])
def test_an_interrupted_copy_goes_on_behind_what_is_there(
    source: MemoryStore, target: SQLiteStore, whole: int
):
    class Interrupted(Exception):
        pass

    written = 0

    def stop(done: int, of: int) -> None:
        nonlocal written
        written += 1
        if written > whole:
            raise Interrupted

    with pytest.raises(Interrupted):
        copy_pool(source, target, chunk=7, progress=stop)
    held = sum(target.count(kind) for kind in ("experience", "attempt", "exposure", "failure"))
    assert 0 < held < 120
    done = copy_pool(source, target, chunk=7)
    assert (done.there, done.written) == (held, 120 - held)
    assert same(source, target)


def test_a_finished_copy_has_nothing_left_to_do(source: MemoryStore, target: SQLiteStore):
    copy_pool(source, target)
    assert copy_pool(source, target).written == 0


def test_a_target_that_holds_something_else_is_refused_and_left_alone(
    source: MemoryStore, target: SQLiteStore
):
    target.write(batch_of(3, start=50), limits=NO_LIMITS)
    before = digest(target)
    with pytest.raises(InvalidInputError, match="holds 12 records that are not the first"):
        copy_pool(source, target)
    assert digest(target) == before
    copy_pool(source, target, restart=True)
    assert same(source, target)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_copy_follows_a_source_that_has_grown(
    source: MemoryStore, target: SQLiteStore, interrupted: bool
):
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            copy_pool(source, target, chunk=7, progress=stop)
    else:
        copy_pool(source, target)
    source.write(batch_of(2, start=99), limits=NO_LIMITS)
    done = copy_pool(source, target)
    assert done.there == (7 if interrupted else 120)
    assert same(source, target)


def test_a_source_that_lost_what_was_copied_is_refused(source: MemoryStore, target: SQLiteStore):
    copy_pool(source, target)
    source.write(Batch(deletions=(source.read("experience")[3].id,)), limits=NO_LIMITS)
    before = digest(target)
    with pytest.raises(InvalidInputError, match="has evicted or deleted some since"):
        copy_pool(source, target)
    assert digest(target) == before


@pytest.mark.parametrize("pair", [("store", "pool"), ("pool", "store"), ("store", "path")])
def test_what_is_no_store_is_named(pair: tuple[str, str], tmp_path: Path):
    things = {"store": MemoryStore(), "pool": open_pool("memory:"), "path": tmp_path / "x.db"}
    with pytest.raises(InvalidInputError, match="a copy is from store to store, got a"):
        copy_pool(*(things[name] for name in pair))


def test_a_pool_is_not_copied_onto_itself_whatever_it_is_called(
    source: MemoryStore, target: SQLiteStore, tmp_path: Path
):
    copy_pool(source, target)
    with closing(SQLiteStore(tmp_path / "." / "copy.db", namespace="copy")) as again:
        for one, two in ((again, target), (target, target), (source, source)):
            with pytest.raises(InvalidInputError, match="the same pool"):
                copy_pool(one, two, restart=True)
    assert same(source, target)
    with closing(SQLiteStore(tmp_path / "copy.db", namespace="another")) as beside:
        assert copy_pool(target, beside).written == 120


def test_what_somebody_wrote_to_an_unfinished_copy_is_not_gone_on_behind(
    source: MemoryStore, target: SQLiteStore
):
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_pool(source, target, chunk=7, progress=stop)
    target.write(batch_of(1, start=500), limits=NO_LIMITS)
    before = digest(target)
    with pytest.raises(InvalidInputError, match="holds 11 records that are not the first"):
        copy_pool(source, target)
    assert digest(target) == before


def test_a_second_writer_to_the_target_is_noticed(source: MemoryStore, target: SQLiteStore):
    def meddle(done: int, of: int) -> None:
        target.write(batch_of(1, start=done + 500), limits=NO_LIMITS)

    with pytest.raises(PoolError, match="somebody else wrote"):
        copy_pool(source, target, chunk=7, progress=meddle)


def test_vectors_and_the_gamma_come_along(tmp_path: Path):
    embedder = HashingEmbedder(dim=32)
    with (
        open_pool(tmp_path / "a.db", embedder=embedder) as pool,
        open_pool(tmp_path / "b.db", namespace="b") as copy,
    ):
        pool.write(batch_of(30))
        found = calibrate_gamma(Guide(pool), target=0.5)
        assert copy_pool(pool.store, copy.store).vectors == 7
        assert load_calibration(copy.store, pool.retriever.fingerprint) == found
    again = Counting(dim=32)
    with open_pool(tmp_path / "b.db", namespace="b", embedder=again) as copy:
        assert again.texts == 0
        assert copy.default_gamma == found.gamma


def test_a_target_of_another_embedder_is_refused_before_anything_is_copied(tmp_path: Path):
    with (
        open_pool(tmp_path / "a.db", embedder=HashingEmbedder(dim=32)) as pool,
        open_pool(tmp_path / "b.db", embedder=HashingEmbedder(dim=64)) as other,
    ):
        pool.write(batch_of(3))
        with pytest.raises(EmbedderMismatchError, match="lanpo pool reindex"):
            copy_pool(pool.store, other.store)
        assert not other.store.count("experience")


class Counting(HashingEmbedder):
    """Counts what it is paid for."""

    texts = 0

    def embed(self, texts):
        self.texts += len(texts)
        return super().embed(texts)


def test_a_store_may_keep_vectors_in_half_the_bytes(tmp_path: Path):
    class Half(MemoryStore):
        vector_dtype = "float16"

    class Watching(Half):
        sizes: ClassVar[set[int]] = set()

        def cache(self, items):
            self.sizes |= {len(value) for key, value in items if key.startswith("emb")}
            super().cache(items)

    from lanpo_memory.embedders import CachedEmbedder

    store = Watching()
    first = CachedEmbedder(HashingEmbedder(dim=32), store, memory=0)
    fresh = first.embed(["red apples", "green pears"])
    assert Watching.sizes == {64}
    later = CachedEmbedder(Counting(dim=32), store).embed(["red apples", "green pears"])
    assert (later == fresh).all()
    assert abs(fresh - HashingEmbedder(dim=32).embed(["red apples", "green pears"])).max() < 1e-3


# ------------------------------------------------------------------ the command

Command = Callable[..., Ran]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    with open_pool(tmp_path / "pool.db") as opened:
        opened.write(batch_of(30))
    return tmp_path / "pool.db"


def test_the_command_copies_and_says_the_digest(lanpo: Command, pool: Path, tmp_path: Path):
    ran = lanpo("pool", "copy", pool, tmp_path / "new.db", "--to-namespace", "run 1")
    assert (ran.code, ran.err) == (0, "")
    with open_pool(pool) as one, open_pool(tmp_path / "new.db", namespace="run 1") as two:
        assert one.digest() == two.digest()
        assert one.digest() in ran.out
    again = lanpo("pool", "copy", pool, tmp_path / "new.db", "--to-namespace", "run 1")
    assert "0 records copied, " in again.out


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nothing.db", "new.db", "there is no pool at"),
        ("pool.db", "pool.db", "the same pool"),
        ("pool.db", "sqlite:///pool.db", "the same pool"),
        ("pool.db", "memory:", "ends with this command"),
        ("pool.db", "memory://", "ends with this command"),
        ("pool.db", "redis://x", "Known addresses: a path, sqlite:///path"),
    ],
)
def test_wrong_places_are_named(
    lanpo: Command, pool: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, said: str
):
    monkeypatch.chdir(pool.parent)
    ran = lanpo("pool", "copy", source, target)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())
    assert sorted(path.name for path in pool.parent.iterdir()) == ["pool.db"]


KILLED = """
import sys, time
from lanpo_memory.copying import copy_pool
from lanpo_memory.stores import open_store
def slowly(done, of):
    print(done, flush=True)
    time.sleep(0.01)
copy_pool(open_store(sys.argv[1]), open_store(sys.argv[2]), chunk=2, progress=slowly)
"""


def test_a_copy_that_is_killed_is_finished_by_the_same_command(
    lanpo: Command, pool: Path, tmp_path: Path
):
    new = tmp_path / "new.db"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(pool), str(new)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline()
    time.sleep(0.005)
    process.kill()
    process.communicate()
    ran = lanpo("pool", "copy", pool, new)
    assert ran.code == 0
    assert "were there already" in ran.out
    with closing(SQLiteStore(pool)) as one, closing(SQLiteStore(new)) as two:
        assert same(one, two)
