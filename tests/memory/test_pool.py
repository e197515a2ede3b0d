"""What every store keeps, through the pool: the same tests for each backend."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lanpo_memory import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    ExperiencePool,
    Exposure,
    Limits,
    Problem,
    Retrieved,
    open_pool,
)
from lanpo_memory.errors import (
    InvalidInputError,
    PoolClosedError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.types import FailedAnswer

Open = Callable[..., ExperiencePool]


@pytest.fixture(params=["memory", "sqlite"])
def open_(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[ExperiencePool] = []
    numbers = iter(range(100))

    def open_one(**options: object) -> ExperiencePool:
        url = "memory:" if request.param == "memory" else tmp_path / f"{next(numbers)}.db"
        opened.append(open_pool(url, clock=lambda: 7.0, **options))
        return opened[-1]

    yield open_one
    for pool in opened:
        pool.close()


def lesson(problem: str, text: str, *, step: int = 0, **meta: object) -> Experience:
    return Experience(
        problem=Problem(text=problem),
        principles=(text,),
        metadata=ExperienceMetadata(step=step, **meta),
    )


def test_one_receipt_each_in_the_same_order(open_: Open):
    pool = open_()
    a, b = lesson("red apples", "a"), lesson("red apples", "b")
    receipts = pool.add([a, b, a])
    assert [(r.status, r.id) for r in receipts] == [
        ("added", a.id),
        ("added", b.id),
        ("duplicate", a.id),
    ]
    assert [r.status for r in pool.add([b])] == ["duplicate"]
    assert pool.add([]) == []
    assert len(pool) == 2


def test_what_is_added_comes_back_whole(open_: Open):
    pool = open_()
    before = Experience(
        problem=Problem(text="größer ≥ \\frac{1}{2}", family="f", metadata={"n": 1}),
        thoughts="{curly} %s\u2028",
        principles=("p1", "p2"),
        pitfalls=("q",),
        metadata=ExperienceMetadata(
            reward=0.1, correct=True, source="s", step=3, policy="π", parents=("x",), extra={"k": 2}
        ),
    )
    pool.add([before])
    after = pool.get([before.id])[0]
    assert after is not None
    assert after.metadata.created_at == 7.0
    assert after == before.model_copy(
        update={"metadata": before.metadata.model_copy(update={"created_at": 7.0})}
    )


def test_capacity_pushes_out_the_oldest(open_: Open):
    pool = open_(limits=Limits(capacity=3, per_step=None))
    first = pool.add([lesson("p", str(i), step=i) for i in range(2)])
    second = pool.add([lesson("p", str(i), step=i) for i in range(2, 8)])
    assert {r.status for r in first} == {"added"}
    assert [r.status for r in second] == ["evicted"] * 3 + ["added"] * 3
    kept = [e.principles[0] for e in pool.store.read("experience")]
    assert kept == ["5", "6", "7"]


def test_at_most_eight_new_experiences_a_problem_and_step(open_: Open):
    pool = open_()
    receipts = pool.add([lesson("p", str(i)) for i in range(10)])
    assert Counter(r.status for r in receipts) == {"added": 8, "rejected": 2}
    assert "8 new experiences of this step" in receipts[-1].reason
    assert pool.add([lesson("p", "next", step=1)])[0].status == "added"
    assert pool.add([lesson("other", "same step")])[0].status == "added"


def test_an_id_keeps_its_text(open_: Open):
    pool = open_()
    one = Experience(problem=Problem(text="one", id="x"), thoughts="t")
    two = Experience(problem=Problem(text="two", id="x"), thoughts="t2")
    assert [r.status for r in pool.add([one, two])] == ["added", "rejected"]
    assert "another text" in pool.add([two])[0].reason


def test_deletion(open_: Open):
    pool = open_()
    a, b = lesson("red apples", "a"), lesson("green pears", "b")
    pool.add([a, b])
    assert [r.status for r in pool.delete([a.id, "unknown"])] == ["added", "rejected"]
    assert pool.get([a.id, b.id])[0] is None
    assert pool.retrieve([Problem(text="red apples")]) == [[]]
    assert len(pool) == 1


def test_retrieval_is_batched_ordered_and_unfiltered_unless_asked(open_: Open):
    pool = open_()
    pool.add([lesson("red apples on trees", "a"), lesson("red pears on trees", "b")])
    queries = [Problem(text="red apples on trees"), Problem(text="zzz"), Problem(text="pears")]
    apples, nothing, pears = pool.retrieve(queries, k=5)
    assert [h.experience.principles[0] for h in apples] == ["a", "b"]
    assert apples[0].similarity == pytest.approx(1.0)
    assert nothing == []
    assert [h.experience.principles[0] for h in pears] == ["b"]
    filters = [NotSameProblem(), SimilarityAtLeast(0.01)]
    assert [h.experience.principles[0] for h in pool.retrieve(queries[:1], filters=filters)[0]] == [
        "b"
    ]
    with pytest.raises(InvalidInputError, match="k must be at least 1"):
        pool.retrieve(queries, k=0)


def test_newer_experiences_of_a_problem_come_first(open_: Open):
    pool = open_()
    pool.add([lesson("p q r", str(i), step=i) for i in range(6)])
    found = pool.retrieve([Problem(text="p q r")], newest=3)[0]
    assert [h.experience.principles[0] for h in found] == ["5", "4", "3"]


def test_attempts_are_kept_newest_first_and_capped(open_: Open):
    pool = open_(limits=Limits(attempts=3))
    problem = Problem(text="p")
    pool.write(
        Batch(attempts=tuple(Attempt(problem=problem, text=f"t{i}", step=i) for i in range(5)))
    )
    assert [a.text for a in pool.attempts(problem)] == ["t4", "t3", "t2"]
    assert pool.attempts(Problem(text="other")) == []
    assert pool.retrieve([problem]) == [[]], "attempts alone are not searched"


def test_utility_is_a_decayed_beta_mean_per_lesson(open_: Open):
    pool = open_()
    a, b = lesson("apples and trees", "same"), lesson("pears and trees", "same")
    pool.add([a, b])

    def exposure(step: int, *rewards: float) -> Exposure:
        return Exposure(
            problem_id="q",
            lesson_ids=(a.lesson_id,),
            step=step,
            guided=rewards,
            scratch=(0.0,),
            group_size=4,
        )

    pool.write(Batch(exposures=(exposure(1, 1.0, 0.0), exposure(2, 1.0, 1.0))))
    # n = .9 · 2/4 + 2/4, w = .9 · 1/4 + 2/4
    expected = (0.9 * 0.25 + 0.5 + 1) / (0.9 * 0.5 + 0.5 + 2)
    assert pool.utility()[a.lesson_id].mean == pytest.approx(expected)
    found = pool.retrieve([Problem(text="trees")])[0]
    assert [h.utility for h in found] == pytest.approx([expected] * 2), "evidence is the lesson's"
    assert [r.status for r in pool.write(Batch(exposures=(exposure(2, 1.0, 1.0),)))] == [
        "duplicate"
    ]
    assert pool.utility()[a.lesson_id].exposures == 2


def fill(pool: ExperiencePool) -> None:
    for step in range(3):
        pool.add([lesson(f"problem {i}", f"l{step}", step=step, reward=1.0) for i in range(5)])
    problem = Problem(text="problem 1")
    pool.write(
        Batch(
            attempts=(Attempt(problem=problem, text="t", step=1),),
            exposures=(Exposure(problem_id=problem.id, lesson_ids=("l",), guided=(1.0,)),),
            failures=(FailedAnswer(role="summarise", problem_id="x", text="?", reason="r"),),
        )
    )


def test_digest_speaks_of_content_alone(open_: Open, tmp_path: Path):
    one, two = open_(), open_pool(tmp_path / "other.db", clock=lambda: 99.0)
    fill(one)
    two.add([lesson("to be deleted", "x")])  # moves sequence numbers
    two.delete([lesson("to be deleted", "x").id])
    fill(two)
    assert one.digest() == two.digest()
    two.add([lesson("problem 1", "more", step=9)])
    assert one.digest() != two.digest()
    two.close()


def test_order_within_a_problem_matters_to_the_digest(open_: Open):
    one, two = open_(), open_()
    a, b = lesson("p", "a"), lesson("p", "b")
    one.add([a, b])
    two.add([b, a])
    assert one.digest() != two.digest()


def test_snapshot_and_restore(open_: Open, tmp_path: Path):
    pool, other = open_(), open_()
    fill(pool)
    path = pool.snapshot(tmp_path / "s.jsonl")
    other.add([lesson("something else", "gone")])
    other.restore(path)
    assert other.digest() == pool.digest()
    assert other.stats() == pool.stats()
    assert other.utility() == pool.utility()
    assert other.retrieve([Problem(text="something else")]) == [[]]
    assert len(other.retrieve([Problem(text="problem 1")])[0]) > 0


def test_a_damaged_snapshot_changes_nothing(open_: Open, tmp_path: Path):
    pool = open_()
    fill(pool)
    before = pool.digest()
    path = pool.snapshot(tmp_path / "s.jsonl")
    lines = path.read_text().splitlines()
    cases = {
        "altered": "\n".join([lines[0], *lines[2:]]),
        "cut": "\n".join(lines)[:-20],
        "no header": "\n".join(lines[1:]),
        "not JSON": "hello",
        "empty": "",
    }
    for name, content in cases.items():
        path.write_text(content)
        with pytest.raises(PoolFormatError):
            pool.restore(path)
        assert pool.digest() == before, name
    path.write_text(re.sub(r'"schema_version": \d+', '"schema_version": 99', lines[0]))
    with pytest.raises(PoolVersionError, match="pip install -U"):
        pool.restore(path)
    with pytest.raises(PoolNotFoundError):
        pool.restore(tmp_path / "nowhere.jsonl")


def test_threads_lose_nothing(open_: Open):
    pool = open_()
    shared = [lesson(f"shared {i}", "x") for i in range(20)]
    receipts: list[str] = []

    def work(number: int) -> None:
        own = [lesson(f"thread {number} problem {i}", "x") for i in range(20)]
        receipts.extend(r.status for r in pool.add(own + shared))
        pool.retrieve([Problem(text=f"thread {number} problem")])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pool) == 6 * 20 + 20
    assert Counter(receipts) == {"added": 140, "duplicate": 100}
    assert len(pool.retriever.retrieve([Problem(text="shared")], k=99)[0]) == 20


# ---------------------------------------------------------------------- the file


def test_a_pool_is_found_again(tmp_path: Path):
    with open_pool(f"sqlite:///{tmp_path}/pool.db") as pool:
        fill(pool)
        before = pool.digest(), pool.stats(), pool.utility()
    with open_pool(tmp_path / "pool.db") as pool:
        assert (pool.digest(), pool.stats(), pool.utility()) == before
        assert len(pool.retrieve([Problem(text="problem 1")])[0]) > 0


def test_namespaces_never_meet(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path, namespace="a") as a, open_pool(path, namespace="b") as b:
        fill(a)
        assert len(b) == 0
        assert b.retrieve([Problem(text="problem 1")]) == [[]]
        fill(b)
        b.restore(open_pool("memory:").snapshot(tmp_path / "empty.jsonl"))
        assert len(b) == 0
        assert len(a) == 15


def test_another_process_is_followed(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as reader:
        script = (
            "import sys; from lanpo_memory import *\n"
            "with open_pool(sys.argv[1]) as pool:\n"
            "    e = [Experience(problem=Problem(text=f'far away {i}'), thoughts='t')"
            " for i in range(3)]\n"
            "    pool.add(e); pool.delete([e[0].id])\n"
        )
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        found = reader.retrieve([Problem(text="far away")])[0]
        assert {h.experience.problem.text for h in found} == {"far away 1", "far away 2"}


def test_files_that_are_no_pool_are_named_and_left_alone(tmp_path: Path):
    text, foreign = tmp_path / "notes.txt", tmp_path / "foreign.db"
    text.write_text("dear diary")
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    for path, fault in ((text, "not a pool"), (foreign, "not a pool"), (tmp_path, "folder")):
        content = path.read_bytes() if path.is_file() else None
        with pytest.raises(PoolFormatError, match=fault):
            open_pool(path)
        assert content is None or path.read_bytes() == content


def test_a_damaged_pool_is_one_typed_error(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as pool:
        fill(pool)
    data = bytearray(path.read_bytes())
    data[100:-100] = b"\xaa" * (len(data) - 200)
    path.write_bytes(data)
    with pytest.raises(PoolFormatError, match="damaged"):
        open_pool(path)


def test_a_newer_pool_is_refused_untouched(tmp_path: Path):
    path = tmp_path / "pool.db"
    open_pool(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(PoolVersionError, match="schema version 99"):
        open_pool(path)


def test_missing_places_are_named(tmp_path: Path):
    with pytest.raises(PoolNotFoundError, match="no folder"):
        open_pool(tmp_path / "no" / "pool.db")
    with pytest.raises(PoolNotFoundError, match="no pool at"):
        open_pool(tmp_path / "pool.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pool_says_so(tmp_path: Path):
    pool = open_pool(tmp_path / "pool.db")
    pool.close()
    pool.close()
    with pytest.raises(PoolClosedError):
        len(pool)


def test_a_refused_write_leaves_the_pool_as_it_was(tmp_path: Path):
    with open_pool(tmp_path / "pool.db") as pool:
        fill(pool)
        before = pool.digest()
        pool.store._file.db().execute("PRAGMA max_page_count = 1")
        big = [lesson(f"big {i}", "x" * 100_000) for i in range(50)]
        with pytest.raises(PoolWriteError, match="full"):
            pool.add(big)
        assert pool.digest() == before
        assert len(pool.retrieve([Problem(text="problem 1")])[0]) > 0


def exposure(lesson_id: str, step: int, *, guided: float, scratch: float = 0.0) -> Exposure:
    return Exposure(
        problem_id="elsewhere",
        lesson_ids=(lesson_id,),
        step=step,
        guided=(guided,) * 4,
        scratch=(scratch,) * 4,
        group_size=8,
        randomised=True,
    )


def test_eviction_by_utility_drops_what_was_tried_and_failed_and_spares_newcomers(open_: Open):
    pool = open_(limits=Limits(capacity=3, by="utility", min_exposures=2))
    bad, good, old = lesson("p", "bad"), lesson("p", "good", step=1), lesson("p", "untried", step=2)
    pool.add([bad, good, old])
    for step in range(4):
        pool.write(
            Batch(
                exposures=(
                    exposure(bad.lesson_id, step, guided=0.0),
                    exposure(good.lesson_id, step, guided=1.0),
                )
            )
        )
    assert pool.utility()[bad.lesson_id].high < pool.utility()[good.lesson_id].high
    pool.add([lesson("p", "new", step=3)])
    assert pool.get([bad.id]) == [None]
    assert all(e is not None for e in pool.get([good.id, old.id]))
    # Now only the good one was tried; its upper bound is below that of the untried.
    pool.add([lesson("p", "newer", step=4)])
    assert pool.get([good.id]) == [None]
    # Nothing was tried: the oldest goes.
    pool.add([lesson("p", "newest", step=5)])
    assert pool.get([old.id]) == [None]
    assert len(pool) == 3


def test_a_single_bad_exposure_is_not_enough(open_: Open):
    pool = open_(limits=Limits(capacity=2, by="utility", min_exposures=2))
    first, second = lesson("p", "a"), lesson("p", "b", step=1)
    pool.add([first, second])
    pool.write(Batch(exposures=(exposure(second.lesson_id, 0, guided=0.0),)))
    pool.add([lesson("p", "c", step=2)])
    assert pool.get([first.id]) == [None]
    assert pool.get([second.id]) != [None]


def test_uplift_is_causal_only_where_chance_decided(open_: Open):
    pool = open_()
    tried = lesson("p", "a")
    pool.add([tried])
    pool.write(Batch(exposures=(exposure(tried.lesson_id, 0, guided=1.0),)))
    found = pool.utility()[tried.lesson_id]
    assert (found.uplift, found.evidence, found.shared) == (1.0, "causal", False)
    assert -1 <= found.uplift_low <= found.uplift_high <= 1


def test_a_snapshot_in_a_folder_is_named_by_its_content(open_: Open, tmp_path: Path):
    pool = open_()
    fill(pool)
    path = pool.snapshot(tmp_path)
    assert path == tmp_path / f"{pool.digest()}.jsonl"
    assert pool.snapshot(tmp_path) == path
    twin = open_()
    twin.restore(path)
    assert twin.digest() == pool.digest()
    assert twin.snapshot(tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


def test_a_snapshot_taken_while_others_write_is_of_one_moment(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path) as pool, open_pool(path) as other:
        pool.add([lesson(f"p {i}", "t") for i in range(300)])
        stop = threading.Event()

        def write() -> None:
            for i in range(10_000):
                if stop.is_set():
                    return
                other.add([lesson(f"q {i}", "t")])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for i in range(5):
                snapshot = pool.snapshot(tmp_path / f"{i}.jsonl")
                twin = open_pool()
                twin.restore(snapshot)  # refuses a file whose records do not match its digest
        finally:
            stop.set()
            writer.join()
        assert len(pool) == len(other) > 300


def test_explain_tells_the_fate_of_every_candidate(open_: Open):
    pool = open_()
    texts = ["red apples in a box 1", "red apples in a box 2", "green pears on a tree 4"]
    pool.add([lesson(text, text) for text in texts])
    pool.add([lesson("red apples in a sack 5", texts[1])])
    found = pool.explain(Problem(text="red apples in a box 1"), gamma=0.2)
    fates = {c.retrieved.experience.problem.text: c for c in found}
    assert fates[texts[0]].dropped == "the same problem"
    assert fates[texts[1]].used
    assert fates[texts[1]].tokens > 10
    assert fates["red apples in a sack 5"].dropped == "the same lesson ranks higher"
    assert [c.rank for c in found] == list(range(len(found)))
    assert sum(c.shortlisted for c in found) == 1


def test_filters_by_problem_and_by_experience_agree_however_much_is_read(open_: Open):
    pool = open_()
    pool.add(
        [lesson(f"red apples in a box {i}", f"{i} {j}", step=j) for i in range(9) for j in range(5)]
    )
    query = Problem(text="red apples in a box 3")

    class Odd:
        def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
            return [None if h.experience.metadata.step % 2 else "even" for h in hits]

    filters = [NotSameProblem(), SimilarityAtLeast(0.1), Odd()]
    everything = pool.retrieve([query], k=100)[0]
    for each in filters:
        verdicts = each.verdicts(query, everything)
        everything = [h for h, v in zip(everything, verdicts, strict=True) if v is None]
    assert everything
    for k in (1, 2, 3, 7, 100):
        assert pool.retrieve([query], k=k, filters=filters)[0] == everything[:k]


def test_a_restored_problem_with_another_text_is_found_by_its_new_text(open_: Open, tmp_path: Path):
    pool, other = open_(), open_()
    for each, text in ((pool, "red apples"), (other, "green pears")):
        each.add([Experience(problem=Problem(text=text, id="same"), thoughts="t")])
    pool.restore(other.snapshot(tmp_path / "s.jsonl"))
    assert pool.retrieve([Problem(text="red apples")]) == [[]]
    assert pool.retrieve([Problem(text="pears")])[0][0].experience.problem.text == "green pears"
    assert len(pool) == 1


def test_an_index_that_fails_is_brought_up_to_date_by_the_next_call(open_: Open):
    pool = open_()

    class Failing(BM25Retriever):
        down = True

        def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
            if self.down and added:
                raise RuntimeError("out of memory")
            super().update(added, removed)

    pool.retriever = index = Failing()
    with pytest.raises(RuntimeError):
        pool.add([lesson("red apples", "t")])
    index.down = False
    assert len(pool) == 1
    assert len(pool.retrieve([Problem(text="red apples")])[0]) == 1


def test_the_number_of_experiences_is_that_of_the_rows(tmp_path: Path):
    path = tmp_path / "pool.db"
    with (
        open_pool(path, limits=Limits(capacity=3)) as pool,
        open_pool(path, namespace="b") as other,
    ):
        pool.add([lesson("p", str(i), step=i) for i in range(7)])
        pool.add([lesson("q", "one"), lesson("q", "one")])
        pool.delete([lesson("q", "one").id, "unknown"])
        other.add([lesson("p", "mine")])
        other.restore(pool.snapshot(tmp_path / "s.jsonl"))
        other.add([lesson("r", "more")])
        for each in (pool, other):
            with sqlite3.connect(path) as db:
                rows = db.execute(
                    "SELECT count(*) FROM experience WHERE ns = ?", (each.store._ns,)
                ).fetchone()[0]
            assert len(each) == each.store.count("experience") == rows
        assert (len(pool), len(other)) == (3, 4)
