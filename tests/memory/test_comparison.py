"""Two pools compared: what differs is found and counted, and a damaged file is never equal."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import Experience, Problem, open_pool
from lanpo_memory.comparison import (
    KINDS,
    Difference,
    KindDifference,
    SnapshotRecords,
    compare,
    metadata_of,
)
from lanpo_memory.errors import PoolFormatError, PoolNotFoundError, PoolVersionError
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.types import (
    Attempt,
    Batch,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Limits,
)

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None)
SUM = Problem(text="Sum 1 to 9")
V1 = Path(__file__).parent / "files"


def lesson(text: str = "Pair the ends.", problem: Problem = SUM, **metadata: Any) -> Experience:
    return Experience(problem=problem, principles=(text,), metadata=ExperienceMetadata(**metadata))


def attempt(text: str = "45") -> Attempt:
    return Attempt(problem=SUM, text=text)


def exposure(**fields: Any) -> Exposure:
    return Exposure(**{"problem_id": "p", "lesson_ids": ("a",), "guided": (1.0,), **fields})


def failure(text: str = "?!", reason: str = "no JSON") -> FailedAnswer:
    return FailedAnswer(role="summarise", problem_id="p", text=text, reason=reason)


def full() -> Batch:
    return Batch(
        experiences=(lesson(reward=1.0, correct=True), lesson("Count on.", step=3)),
        attempts=(attempt(), attempt("44")),
        exposures=(exposure(), exposure(step=1)),
        failures=(failure(), failure("!?")),
    )


def store_of(batch: Batch) -> MemoryStore:
    store = MemoryStore()
    store.write(batch, limits=NO_LIMITS)
    return store


def kind_of(found: Difference, kind: str) -> KindDifference:
    return next(each for each in found.kinds if each.kind == kind)


def counts(found: KindDifference) -> tuple[int, int, int]:
    return found.only_a, found.only_b, found.changed


# ---------------------------------------------------------------------- equal


def test_a_pool_equals_itself_and_its_digest_is_the_pools():
    pool = ExperiencePool(store_of(full()))
    found = compare(pool.store, pool.store)
    assert found.equal
    assert not found.reordered
    assert found.digest_a == found.digest_b == pool.digest()
    assert [(k.kind, k.count_a, k.count_b) for k in found.kinds] == [(k, 2, 2) for k in KINDS]
    assert all(kind.equal and counts(kind) == (0, 0, 0) for kind in found.kinds)


def test_two_empty_pools_are_equal():
    assert compare(MemoryStore(), MemoryStore()).equal


@pytest.fixture(params=["memory", "sqlite", "snapshot"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Batch], Any]]:
    """Makes something to compare out of a batch: each kind of source there is."""
    opened: list[ExperiencePool] = []

    def make(batch: Batch) -> Any:
        url = "memory:" if request.param == "memory" else tmp_path / f"{len(opened)}.db"
        pool = open_pool(url, limits=NO_LIMITS)
        opened.append(pool)
        pool.write(batch)
        if request.param != "snapshot":
            return pool.store
        return SnapshotRecords(pool.snapshot(tmp_path / f"{len(opened)}.jsonl"))

    yield make
    for pool in opened:
        pool.close()


def test_every_source_equals_the_same_records_in_memory(source: Callable[[Batch], Any]):
    found = compare(source(full()), store_of(full()))
    assert found.equal, found


def test_clock_times_and_sources_do_not_count():
    a = store_of(Batch(experiences=(lesson(created_at=1.0, source="llm"),)))
    assert compare(a, store_of(Batch(experiences=(lesson(created_at=2.0),)))).equal


# ---------------------------------------------------------------------- different


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_one_of_them_has_is_counted_and_named(source: Callable[[Batch], Any], kind: str):
    field = f"{kind}s"
    whole, without = full(), full().model_copy(update={field: getattr(full(), field)[:1]})
    missing = getattr(whole, field)[1].id
    found = compare(source(whole), store_of(without))
    assert not found.equal
    assert counts(kind_of(found, kind)) == (1, 0, 0)
    assert kind_of(found, kind).first_only_a == (missing,)
    turned = kind_of(compare(store_of(without), source(whole)), kind)
    assert (counts(turned), turned.first_only_b) == ((0, 1, 0), (missing,))
    assert all(each.equal for each in found.kinds if each.kind != kind)


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("experience", lesson(), lesson(step=1)),
        ("experience", lesson(reward=0.0), lesson(reward=1.0)),
        ("experience", lesson(reward=0.0), lesson()),
        ("experience", lesson(correct=False), lesson()),
        ("experience", lesson(parents=("x",)), lesson(parents=("x", "y"))),
        ("exposure", exposure(), exposure(guided=(0.5,))),
        ("exposure", exposure(), exposure(scratch=(0.5,))),
        ("exposure", exposure(), exposure(group_size=2)),
        ("exposure", exposure(), exposure(randomised=True)),
        ("exposure", exposure(), exposure(experience_ids=("x",))),
        ("failure", failure(), failure(reason="too long")),
    ],
)
def test_other_metadata_under_the_same_id_is_a_change(kind: str, a: Any, b: Any):
    assert a.id == b.id
    assert metadata_of(a) != metadata_of(b)
    found = compare(*(store_of(Batch(**{f"{kind}s": (record,)})) for record in (a, b)))
    assert not found.equal
    assert not found.reordered
    assert counts(kind_of(found, kind)) == (0, 0, 1)
    assert kind_of(found, kind).first_changed == (a.id,)


def test_the_same_records_in_another_order_are_not_equal():
    a, b = lesson("one"), lesson("two")
    found = compare(store_of(Batch(experiences=(a, b))), store_of(Batch(experiences=(b, a))))
    assert not found.equal
    assert found.reordered
    assert all(kind.equal for kind in found.kinds)


def test_order_between_problems_does_not_count():
    a, b = lesson(problem=Problem(text="A?")), lesson(problem=Problem(text="B?"))
    found = compare(store_of(Batch(experiences=(a, b))), store_of(Batch(experiences=(b, a))))
    assert found.equal


def test_examples_are_the_oldest_and_as_many_as_wanted():
    lessons = tuple(lesson(f"lesson {i}") for i in range(9))
    a, b = store_of(Batch(experiences=lessons)), MemoryStore()
    for n in (0, 1, 4):
        (experience, *_) = compare(a, b, examples=n).kinds
        assert experience.only_a == 9
        assert experience.first_only_a == tuple(each.id for each in lessons[:n])


def test_ids_that_end_in_zeros_are_named_whole():
    ends = [e for e in (lesson(f"lesson {i}") for i in range(2_000)) if e.id.endswith("00")]
    assert ends
    (found, *_) = compare(
        store_of(Batch(experiences=tuple(ends))), MemoryStore(), examples=len(ends)
    ).kinds
    assert found.first_only_a == tuple(e.id for e in ends)


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_sets(seed: int):
    random_ = random.Random(seed)

    def some() -> dict[str, Experience]:
        texts = random_.sample(range(30), random_.randint(0, 30))
        return {(e := lesson(f"{i}", reward=random_.randint(0, 1))).id: e for i in texts}

    a, b = some(), some()
    changed = [i for i in a if i in b and a[i].metadata != b[i].metadata]
    (found, *_) = compare(
        store_of(Batch(experiences=tuple(a.values()))),
        store_of(Batch(experiences=tuple(b.values()))),
        examples=99,
    ).kinds
    assert (found.count_a, found.count_b) == (len(a), len(b))
    assert found.first_only_a == tuple(i for i in a if i not in b)
    assert found.first_only_b == tuple(i for i in b if i not in a)
    assert found.first_changed == tuple(changed)
    assert counts(found) == tuple(map(len, (found.first_only_a, found.first_only_b, changed)))


def test_records_are_let_go(tmp_path: Path):
    """What is kept of a record is a fraction of it: a long text takes no more than a short one."""
    store = SQLiteStore(tmp_path / "long.db")
    for start in range(0, 2_000, 500):
        lessons = [lesson(f"{i} " + "x" * 10_000) for i in range(start, start + 500)]
        store.write(Batch(experiences=tuple(lessons)), limits=NO_LIMITS)
    path = ExperiencePool(store).snapshot(tmp_path / "long.jsonl")
    snapshot = SnapshotRecords(path)
    compare(snapshot, snapshot)  # what is loaded once, is loaded
    tracemalloc.start()
    try:
        compare(snapshot, snapshot)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        store.close()
    assert path.stat().st_size > 20_000_000
    assert peak < 3_000_000


# ---------------------------------------------------------------------- snapshots


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return ExperiencePool(store_of(full())).snapshot(tmp_path / "pool.jsonl")


def test_records_of_a_snapshot_are_found_by_id(snapshot: Path):
    records = SnapshotRecords(snapshot)
    for kind in KINDS:
        one, two = records.scan(kind)
        assert records.read(kind, ids=[two.id, "unknown"]) == [two]
        assert records.read(kind, ids=[two.id, one.id]) == [one, two]
        assert records.read(kind, ids=[]) == []


def test_a_snapshot_of_version_1_is_compared_under_todays_ids(tmp_path: Path):
    old = SnapshotRecords(V1 / "snapshot-v1.jsonl")
    with open_pool("memory:") as pool:
        pool.restore(V1 / "snapshot-v1.jsonl")
        assert compare(old, pool.store).equal
    store = SQLiteStore(shutil.copy(V1 / "pool-v1.db", tmp_path / "old.db"))
    found = compare(old, store)
    store.close()
    assert (found.equal, found.kinds[0].count_a) == (True, 5)


def damaged(lines: Sequence[bytes], fault: str) -> list[bytes]:
    changed = list(lines)
    if fault == "a line is missing":
        del changed[2]
    elif fault == "a line is changed":
        changed[1] = changed[1].replace(b"Pair", b"pair")
    elif fault == "its end is missing":
        del changed[-1]
    elif fault == "a line is cut":
        changed[-1] = changed[-1][:20]
    elif fault == "there is more after the end":
        changed.append(changed[1])
    elif fault == "the footer is no object":
        changed[-1] = b"[]\n"
    elif fault == "only a header":
        changed = changed[:1]
    return changed


@pytest.mark.parametrize(
    "fault",
    [
        "a line is missing",
        "a line is changed",
        "its end is missing",
        "a line is cut",
        "there is more after the end",
        "the footer is no object",
        "only a header",
    ],
)
def test_a_damaged_snapshot_is_refused(snapshot: Path, fault: str):
    lines = snapshot.read_bytes().splitlines(keepends=True)
    assert damaged(lines, fault) != lines
    snapshot.write_bytes(b"".join(damaged(lines, fault)))
    with pytest.raises(PoolFormatError, match="damaged") as caught:
        SnapshotRecords(snapshot)
    assert str(snapshot) in str(caught.value)


def test_a_line_that_only_its_footer_vouches_for_is_named(snapshot: Path):
    """Whoever writes a wrong line and a right footer gets the line named."""
    lines = snapshot.read_bytes().splitlines(keepends=True)[:-1]
    lines[2] = b'{"kind": "experience", "problem": 5}\n'
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    footer = {"kind": "end", "lines": len(lines), "sha256": digest}
    snapshot.write_bytes(b"".join(lines) + json.dumps(footer).encode())
    with pytest.raises(PoolFormatError, match="line 3 cannot be read"):
        compare(SnapshotRecords(snapshot), MemoryStore())


def test_what_is_no_snapshot_is_refused(tmp_path: Path):
    with pytest.raises(PoolNotFoundError, match="there is no snapshot at"):
        SnapshotRecords(tmp_path / "none.jsonl")
    with pytest.raises(PoolNotFoundError, match="there is no snapshot at"):
        SnapshotRecords(tmp_path)
    for i, text in enumerate(("", "hello\n", "{}\n", "[" * 9_000)):
        path = tmp_path / f"{i}.jsonl"
        path.write_text(text)
        with pytest.raises(PoolFormatError, match="is no pool snapshot"):
            SnapshotRecords(path)
    path.write_text('{"format": "lanpo-pool", "schema_version": 99}\n')
    with pytest.raises(PoolVersionError, match="pip install"):
        SnapshotRecords(path)
