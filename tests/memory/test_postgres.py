"""The PostgreSQL store says and keeps what the SQLite store does."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    Limits,
    Problem,
    open_pool,
)
from lanpo_memory.errors import (
    InvalidInputError,
    MissingExtraError,
    PoolClosedError,
    PoolDamagedError,
    PoolURLError,
    PoolWriteError,
)
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.stores.postgres import PostgresStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import Changes, FailedAnswer, Promise
from tests.memory.postgres_server import postgres_server, postgres_url, run

__all__ = ["postgres_server", "postgres_url"]
pytestmark = pytest.mark.server

KINDS: tuple[Any, ...] = ("experience", "attempt", "exposure", "failure")
NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(postgres_url, timeout_s=20)
    yield store
    store.close()


def lesson(text: str, problem: str = "2 + 3?", **metadata: Any) -> Experience:
    return Experience(
        problem=Problem(text=problem),
        thoughts=text,
        metadata=ExperienceMetadata(**metadata),
    )


def add(store: Any, *experiences: Experience, limits: Limits = NO_LIMITS) -> list[str]:
    batch = Batch(experiences=experiences, now=1.5)
    return [receipt.status for receipt in store.write(batch, limits=limits)]


# ---------------------------------------------------------------------- the same as a file


def a_batch(rng: random.Random, known: list[str]) -> Batch:
    """Few problems and few texts, so that everything happens: duplicates, conflicts, eviction."""

    def problem() -> Problem:
        i = rng.randrange(5)
        text = f"other text {i}" if rng.random() < 0.1 else f"problem {i}"
        return Problem(text=text, id=f"p{i}" * (3_000 if i == 4 else 1), family=f"f{i}")

    def some(make: Callable[[], Any], most: int) -> tuple[Any, ...]:
        return tuple(make() for _ in range(rng.randrange(most)))

    def experience() -> Experience:
        metadata = ExperienceMetadata(step=rng.randrange(3), reward=rng.choice([None, 1.0, -0.0]))
        text = f"lesson {rng.randrange(12)}"
        return Experience(problem=problem(), thoughts=text, metadata=metadata)

    def failure() -> FailedAnswer:
        return FailedAnswer(
            role="summarise",
            problem_id=problem().id,
            text=f"answer {rng.randrange(6)}",
            reason="unreadable",
            conversation=[{"role": "user", "content": "x"}] if rng.random() < 0.5 else None,
        )

    return Batch(
        experiences=some(experience, 9),
        attempts=some(lambda: Attempt(problem=problem(), text=f"try {rng.randrange(9)}"), 5),
        exposures=some(
            lambda: Exposure(
                problem_id=problem().id, lesson_ids=(f"l{rng.randrange(9)}",), guided=(-0.0, 0.5)
            ),
            4,
        ),
        failures=some(failure, 4),
        deletions=some(lambda: rng.choice([*known, "nothing", "a,b", "é\0"]), 4),
        replace=rng.random() < 0.08,
        now=rng.choice([None, 12.25]),
    )


def told(store: Any) -> dict[str, Any]:
    """All that a store says of its content."""
    some = [f"p{i}" for i in (1, 3)]
    return {
        **{f"count {kind}": store.count(kind) for kind in (*KINDS, "problem")},
        **{f"read {kind}": store.read(kind) for kind in (*KINDS, "problem")},
        **{f"some {kind}": store.read(kind, problems=some) for kind in (*KINDS, "problem")},
        **{f"newest {kind}": store.read(kind, newest=2) for kind in KINDS},
        **{f"scan {kind}": list(store.scan(kind)) for kind in KINDS},
        **{f"back {kind}": list(store.scan(kind, newest_first=True)) for kind in KINDS},
        "changes": store.changes(0),
        "later": store.changes(7, limit=5),
    }


@pytest.mark.parametrize("seed", range(4))
def test_any_history_leaves_it_as_it_leaves_a_file(store: PostgresStore, tmp_path: Path, seed: int):
    rng = random.Random(seed)
    other = SQLiteStore(tmp_path / "pool.db")
    for _ in range(40):
        known = [record.id for kind in KINDS for record in other.read(kind)]
        batch = a_batch(rng, known)
        limits = Limits(
            capacity=rng.choice([None, 1, 3, 6]),
            per_step=rng.choice([None, 2, 8]),
            attempts=rng.choice([None, 2]),
            failures=rng.choice([None, 3]),
        )
        worth = rng.choice([None, lambda lesson_id: int(lesson_id[:2], 16) % 3])
        assert store.write(batch, limits=limits, worth=worth) == other.write(
            batch, limits=limits, worth=worth
        )
        kind = rng.choice(KINDS)
        ids = [*rng.sample(known, min(3, len(known))), "nothing", "a,b", "\ud800"]
        assert store.read(kind, ids=ids) == other.read(kind, ids=ids)
    mine, theirs = told(store), told(other)
    for question, answer in theirs.items():
        assert mine[question] == answer, question
    other.close()


def test_a_pool_over_it_agrees_with_those_in_memory_and_in_a_file(
    postgres_url: str, tmp_path: Path
):
    def history(url: str) -> list[Any]:
        with open_pool(url, clock=lambda: 5.0) as pool:
            problems = [Problem(text=f"add {i} to {j}") for i in range(4) for j in range(5)]
            new = [
                lesson(f"l{n}", p.text, step=n, parents=("x",)) for n in range(3) for p in problems
            ]
            out: list[Any] = [pool.add(new), pool.add(new[:5])]
            exposure = Exposure(
                problem_id=problems[0].id, lesson_ids=(new[0].lesson_id,), guided=(1.0,)
            )
            attempts = tuple(Attempt(problem=p, text="tried") for p in problems[:3])
            out.append(pool.write(Batch(attempts=attempts, exposures=(exposure,))))
            out += [pool.retrieve(problems[:4], k=3), pool.attempts(problems[0]), len(pool)]
            out += [pool.delete([new[1].id]), pool.digest(), pool.utility(), pool.stats()]
            path = pool.snapshot(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl")
            pool.add([lesson("one more")])
            pool.restore(path)
            return [*out, pool.digest(), pool.utility(), pool.get([new[2].id])]

    memory, file = history("memory:"), history(str(tmp_path / "pool.db"))
    server = history(postgres_url)
    assert server == memory == file


AWKWARD = [
    "ünïcödé 数学 🧮 e\u0301",
    r"\frac{a}{b} \\u0000 \u0041 \x \n",
    "tabs\tnew\nlines\r\n\\N \\. \x01\x7f",
    "long " * 200_000,
    '{"json": [1, "two"]}',
]


@pytest.mark.parametrize("text", AWKWARD, ids=lambda text: text[:8])
def test_every_text_comes_back_as_it_was(store: PostgresStore, text: str):
    problem = Problem(text=text, id=text[:9_000], family=text[:20], metadata={text[:9]: text[:99]})
    made = Experience(problem=problem, thoughts=text, metadata=ExperienceMetadata(source=text[:99]))
    attempt = Attempt(problem=problem, text=text)
    failure = FailedAnswer(
        role="r", problem_id="p", text=text, reason=text, conversation=[{"content": text}]
    )
    store.write(
        Batch(experiences=(made,), attempts=(attempt,), failures=(failure,)), limits=Limits()
    )
    assert store.read("experience", problems=[problem.id]) == [made]
    assert store.read("attempt") == [attempt]
    assert store.read("failure", ids=[failure.id]) == [failure]
    assert store.read("problem", ids=[problem.id]) == [problem]


EXTREMES = [5e-324, 1.7976931348623157e308, -0.0, 0.1, 1e16, 1e22, -(2**53), 2**53, True, None]


@pytest.mark.parametrize("number", EXTREMES)
def test_every_number_comes_back_as_it_was(store: PostgresStore, number: Any):
    real = float(number or 0) if not isinstance(number, float) else number
    metadata = ExperienceMetadata(reward=real, created_at=real, extra={"a": number, "longer": 1})
    problem = Problem(text="p", metadata={"b": number})
    made = Experience(problem=problem, thoughts="t", metadata=metadata)
    exposure = Exposure(problem_id="p", lesson_ids=(), guided=(real,), scratch=())
    failure = FailedAnswer(
        role="r", problem_id="p", text="t", reason="r", conversation=[{"x": number, "y": [number]}]
    )
    store.write(
        Batch(experiences=(made,), exposures=(exposure,), failures=(failure,)), limits=Limits()
    )
    back = (*store.read("experience"), *store.read("exposure"), *store.read("failure"))
    assert repr(back) == repr((made, exposure, failure))  # -0.0 equals 0.0, and 1 equals True


def test_what_a_failed_answer_was_asked_keeps_its_order_and_with_it_its_id(store: PostgresStore):
    asked = [
        {"role": "user", "content": "a\0b", "a": {"zz": 1, "b": [{"y": 1e300, "x": "\\u0000"}]}}
    ]
    failure = FailedAnswer(role="r", problem_id="p", text="t", reason="r", conversation=asked)
    store.write(Batch(failures=(failure,)), limits=Limits())
    (back,) = store.read("failure", ids=[failure.id])
    assert back.id == failure.id
    assert list(back.conversation[0]) == ["role", "content", "a"]
    assert back == failure


def test_payloads_are_json_that_sql_can_ask_about(store: PostgresStore, postgres_url: str):
    add(store, lesson("a", reward=0.5), lesson("b", reward=-0.0))
    asked = "SELECT payload->>'thoughts', exact IS NULL FROM lanpo.experience ORDER BY seq"
    assert run(postgres_url, asked) == [("a", True), ("b", False)]


def test_a_scan_goes_through_pages_in_both_directions(store: PostgresStore):
    made = [lesson(f"{i}", f"problem {i % 700}") for i in range(2_300)]
    add(store, *made)
    assert [e.thoughts for e in store.scan("experience")] == [e.thoughts for e in made]
    back = store.scan("experience", newest_first=True)
    assert [e.thoughts for e in back] == [e.thoughts for e in made[::-1]]


def test_unknown_kinds_are_refused(store: PostgresStore):
    for ask in (store.read, store.count, lambda kind: next(store.scan(kind))):
        with pytest.raises(InvalidInputError, match="unknown kind"):
            ask("nonsense")


def test_a_record_that_is_none_is_named(store: PostgresStore, postgres_url: str):
    add(store, lesson("a"))
    run(postgres_url, """UPDATE lanpo.experience SET payload = '{"thoughts": 7}'""")
    with pytest.raises(PoolDamagedError, match="experience 1 cannot be read"):
        store.read("experience")


# ---------------------------------------------------------------------- side by side


def test_namespaces_never_meet(postgres_url: str):
    names = ["default", "other", "sp äce'\"%", "n" * 5_000]
    stores = [PostgresStore(postgres_url, namespace=name) for name in names]
    for n, store in enumerate(stores):
        add(store, *[lesson(f"{n} {i}") for i in range(n + 1)])
    for n, store in enumerate(stores):
        assert [e.thoughts for e in store.read("experience")] == [f"{n} {i}" for i in range(n + 1)]
        assert store.changes(0).head == n + 1
    stores[1].write(Batch(replace=True), limits=Limits())
    assert [store.count("experience") for store in stores] == [1, 0, 3, 4]
    for store in stores:
        store.close()


def test_many_open_an_empty_database_at_once(postgres_url: str):
    start = threading.Barrier(6)

    def opened(n: int) -> int:
        start.wait()
        store = PostgresStore(postgres_url, namespace=f"n{n % 2}")
        add(store, lesson(f"{n}"))
        store.close()
        return n

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(opened, range(6))) == list(range(6))
    for name in ("n0", "n1"):
        store = PostgresStore(postgres_url, namespace=name, create=False)
        assert store.count("experience") == 3
        store.close()


def test_threads_lose_nothing(store: PostgresStore):
    def work(n: int) -> list[str]:
        out = []
        for i in range(10):
            out += add(store, lesson(f"{n} {i}", f"problem {i}"))
            assert len(store.read("experience", newest=1)) >= 1
        return out

    with ThreadPoolExecutor(12) as threads:
        statuses = [s for out in threads.map(work, range(12)) for s in out]
    assert statuses == ["added"] * 120
    assert store.count("experience") == len(store.read("experience")) == 120
    assert [line.seq for line in store.changes(0).items] == list(range(1, 121))


def test_a_follower_misses_no_line_however_transactions_interleave(postgres_url: str):
    """The first writer takes its numbers, and commits after the second one came."""
    first, second, follower = (PostgresStore(postgres_url, timeout_s=20) for _ in range(3))
    add(first, lesson("old"))
    inside, go = threading.Event(), threading.Event()

    def worth(_: str) -> float:
        inside.set()
        assert go.wait(20)
        return 0.0

    limits = Limits(capacity=1)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(
            first.write, Batch(experiences=(lesson("slow"),)), limits=limits, worth=worth
        )
        assert inside.wait(20)
        fast = threads.submit(add, second, lesson("fast"))
        seen = list(follower.changes(0).items)
        assert [line.op for line in seen] == ["add"]  # neither is there, and neither is skipped
        assert not fast.done()
        go.set()
        while not (slow.done() and fast.done()):
            seen += follower.changes(seen[-1].seq, limit=1).items
        slow.result(), fast.result()
        seen += follower.changes(seen[-1].seq).items
    assert [line.seq for line in seen] == [1, 2, 3, 4]
    assert [line.op for line in seen] == ["add", "add", "evict", "add"]
    assert tuple(seen) == first.changes(0).items
    for store in (first, second, follower):
        store.close()


def test_namespaces_do_not_wait_for_each_other(postgres_url: str):
    one, other = (PostgresStore(postgres_url, namespace=n, timeout_s=20) for n in "ab")
    add(one, lesson("old"))
    seen: list[list[str]] = []

    def worth(_: str) -> float:
        if not seen:
            with ThreadPoolExecutor(1) as threads:
                seen.append(threads.submit(add, other, lesson("meanwhile")).result(20))
        return 0.0

    one.write(Batch(experiences=(lesson("new"),)), limits=Limits(capacity=1), worth=worth)
    assert seen == [["added"]]
    one.close(), other.close()


def test_the_head_of_the_log_is_that_of_the_namespace(postgres_url: str):
    one, other = (PostgresStore(postgres_url, namespace=n) for n in "ab")
    add(one, lesson("1"), lesson("2"))
    assert other.changes(0) == Changes((), 0)
    assert one.changes(0, limit=0) == Changes((), 2)
    assert [line.seq for line in one.changes(1).items] == [2]
    one.close(), other.close()


def test_waiting_ends_with_the_next_commit_and_not_before(postgres_url: str):
    writer, follower = PostgresStore(postgres_url), PostgresStore(postgres_url)
    assert not follower.wait(0, 0.05)
    assert not follower.wait(0, 0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(follower.wait, 0, 60)
        add(writer, lesson("a"))
        assert waiting.result(30)
    assert follower.wait(0, 0)  # it is there already
    assert not follower.wait(1, 0.05)
    writer.close(), follower.close()


def test_a_view_is_of_one_moment(store: PostgresStore, postgres_url: str):
    other = PostgresStore(postgres_url)
    add(store, lesson("a"))
    with store.view():
        add(other, lesson("b"))
        with store.view():
            assert store.count("experience") == 1
        assert [e.thoughts for e in store.scan("experience")] == ["a"]
        assert store.changes(0).head == 1
        with ThreadPoolExecutor(1) as threads:  # another thread looks for itself
            assert threads.submit(store.count, "experience").result() == 2
        with pytest.raises(PoolWriteError, match="within a view"):
            add(store, lesson("c"))
    assert store.count("experience") == 2
    other.close()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_connections_of_its_own(store: PostgresStore):
    add(store, lesson("a"))
    child = os.fork()
    if not child:
        done = add(store, lesson("b")) == ["added"] and store.count("experience") == 2
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert add(store, lesson("c")) == ["added"]
    assert store.count("experience") == 3


# ---------------------------------------------------------------------- cache, opening, closing


def test_cached_bytes_come_back_to_every_namespace(postgres_url: str):
    one, other = (PostgresStore(postgres_url, namespace=n) for n in "ab")
    values = [(f"key {i}", bytes([i % 256, 0, 255]) * 100) for i in range(6_000)]
    one.cache([*values, ("key 1", b"newer"), ("k" * 20_000, b""), ("\0", b"nul")])
    assert other.cached(["key 0", "absent", "key 1", "key 5999", "key 0", "k" * 20_000, "\0"]) == [
        values[0][1], None, b"newer", values[5999][1], values[0][1], b"", b"nul",
    ]  # fmt: skip
    assert one.cached([]) == []
    one.cache([])
    one.close(), other.close()


def test_two_that_cache_the_same_keys_do_not_block_each_other(postgres_url: str):
    stores = [PostgresStore(postgres_url, timeout_s=20) for _ in range(2)]
    keys = [f"key {i}" for i in range(500)]

    def work(n: int) -> None:
        for i in range(10):
            stores[n].cache([(key, bytes([n, i])) for key in (keys, keys[::-1])[n]])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert all(value in (b"\0\x09", b"\x01\x09") for value in stores[0].cached(keys))
    for store in stores:
        store.close()


def test_it_keeps_every_promise_and_shows_no_password(postgres_url: str):
    url = postgres_url.replace("postgres@", "postgres:s3cret@")
    store = PostgresStore(url, namespace="mine")
    assert store.promises == frozenset(Promise)
    assert store.vector_dtype == "float16"
    assert "s3cret" not in repr(store)
    assert ":***@" in repr(store)
    assert "mine" in repr(store)
    store.close()


def test_a_closed_store_says_so_and_may_be_closed_again(postgres_url: str):
    store = PostgresStore(postgres_url)
    scan = store.scan("experience")
    store.close()
    store.close()
    uses: list[Callable[[], Any]] = [
        lambda: store.count("experience"),
        lambda: add(store, lesson("a")),
        lambda: next(scan),
        lambda: store.cached(["a"]),
        lambda: store.changes(0),
        lambda: store.wait(0, 1),
        lambda: store.view().__enter__(),
    ]
    for use in uses:
        with pytest.raises(PoolClosedError):
            use()


def test_closing_ends_the_connection_of_a_view_as_well(postgres_url: str):
    store = PostgresStore(postgres_url)
    with store.view():
        db = store._server._local.db
        store.close()
    assert db.closed
    with pytest.raises(PoolClosedError):
        store.count("experience")


def test_nothing_is_written_into_the_log_in_quiet_times(
    postgres_url: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        store = PostgresStore(postgres_url)
        add(store, lesson("a"))
        with store.view():
            store.read("experience")
        store.wait(0, 1)
        store.close()
    assert not caplog.records


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:pa%zzss@127.0.0.1/db",
        "postgresql://me:pass@127.0.0.1:many/db",
        "postgresql://me:pass@127.0.0.1/d?x=y",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(url: str):
    with pytest.raises(PoolURLError, match="cannot read the address") as raised:
        PostgresStore(url)
    assert "pa%zzss" not in str(raised.value)
    assert "pass@" not in str(raised.value)


def test_without_psycopg_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"lanpo\[postgres\]"):
        PostgresStore("postgresql://me@127.0.0.1/db")


def test_a_namespace_with_a_nul_is_refused(postgres_url: str):
    with pytest.raises(InvalidInputError, match="NUL"):
        PostgresStore(postgres_url, namespace="a\0b")


def test_memory_and_server_agree_on_what_is_evicted(store: PostgresStore):
    memory = MemoryStore()
    for n in range(6):
        batch = Batch(experiences=tuple(lesson(f"{n} {i}", step=n) for i in range(7)))
        limits = Limits(capacity=4)
        assert store.write(batch, limits=limits) == memory.write(batch, limits=limits)
    assert store.read("experience") == memory.read("experience")
    assert store.changes(0) == memory.changes(0)


def test_a_growing_namespace_is_not_taken_for_an_empty_one(postgres_url: str):
    """Beside another one that the server has looked at, it would be read whole for every batch."""
    with closing(PostgresStore(postgres_url)) as first:
        first.write(many(3_000), limits=Limits(capacity=None))
    with closing(PostgresStore(postgres_url, namespace="second")) as second:
        second.write(many(3_000), limits=Limits(capacity=None))
        told = run(
            postgres_url, "SELECT reltuples FROM pg_class WHERE oid = 'lanpo.experience'::regclass"
        )
        assert told == [(6_000.0,)]
        assert second.count("experience") == 3_000


def many(n: int) -> Batch:
    problem = Problem(text="many")
    return Batch(
        experiences=tuple(
            Experience(problem=problem, thoughts=f"{i}", metadata=ExperienceMetadata(step=i))
            for i in range(n)
        )
    )


def test_vectors_are_kept_in_half_the_bytes_and_come_back_the_same(postgres_url: str):
    problems = [Problem(text=f"{n} red apples and {n} green pears") for n in range(20)]
    lessons = [Experience(problem=p, thoughts="Count.") for p in problems]
    asked = [Problem(text="3 red apples"), Problem(text="green pears")]
    with open_pool(postgres_url, embedder=HashingEmbedder(dim=48)) as pool:
        pool.add(lessons)
        fresh = [[(h.experience.id, h.similarity) for h in hits] for hits in pool.retrieve(asked)]
    sizes = {size for (size,) in run(postgres_url, "SELECT length(value) FROM lanpo.cached")}
    assert 2 * 48 in sizes
    assert 4 * 48 not in sizes
    with open_pool(postgres_url, embedder=HashingEmbedder(dim=48)) as pool:
        again = [[(h.experience.id, h.similarity) for h in hits] for hits in pool.retrieve(asked)]
    assert again == fresh
    with open_pool("memory:", embedder=HashingEmbedder(dim=48)) as plain:
        plain.add(lessons)
        exact = [[h.similarity for h in hits] for hits in plain.retrieve(asked)]
    found = [[similarity for _, similarity in hits] for hits in fresh]
    assert (
        max(
            abs(a - b) for x, y in zip(exact, found, strict=True) for a, b in zip(x, y, strict=True)
        )
        < 1e-3
    )
