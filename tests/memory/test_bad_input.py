"""Input that cannot be used: a typed error or a rejected receipt, and never half a batch."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    ExperiencePool,
    Exposure,
    Guide,
    Limits,
    Problem,
    Rollout,
    open_pool,
)
from lanpo_memory.errors import (
    ConfigError,
    InvalidInputError,
    LabelLeakError,
    PoolClosedError,
    PoolFormatError,
)
from lanpo_memory.filters import SimilarityAtLeast
from lanpo_memory.types import MAX_ITEMS, MAX_NAME_CHARS, MAX_TEXT_CHARS, FailedAnswer

ROOT = Path(__file__).parents[2]
FINE = Problem(text="red apples")
TEN_MB = "a" * 10_000_000


def lesson(text: str = "red apples", thoughts: str = "t", **metadata: Any) -> Experience:
    return Experience(
        problem=Problem(text=text), thoughts=thoughts, metadata=ExperienceMetadata(**metadata)
    )


@pytest.fixture(params=["memory", "sqlite"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> ExperiencePool:
    return open_pool("memory:" if request.param == "memory" else tmp_path / "pool.db")


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "an empty problem": (lambda: Problem(text=""), "Problem.text: is empty"),
    "white space": (lambda: Problem(text=" \n\t\u2003"), "Problem.text: is empty"),
    "an empty id": (lambda: Problem(text="p", id=" "), "Problem.id: is empty"),
    "10 MB": (lambda: Problem(text=TEN_MB), "10,000,000 characters; at most 2,000,000"),
    "10 MB in thoughts": (lambda: lesson(thoughts=TEN_MB), "Experience.thoughts: has 10,000,000"),
    "10 MB over the principles": (
        lambda: Experience(problem=FINE, principles=("a" * (MAX_TEXT_CHARS // 10),) * 11),
        "characters in all",
    ),
    "10 MB of completion": (lambda: Rollout(problem=FINE, completion=TEN_MB), "10,000,000"),
    "10 MB of attempt": (lambda: Attempt(problem=FINE, text=TEN_MB), "10,000,000"),
    "a NUL": (lambda: Problem(text="a\0b"), "NUL"),
    "a NUL in an id": (lambda: Problem(text="p", id="a\0"), "NUL"),
    "a NUL in metadata": (lambda: Problem(text="p", metadata={"k": "a\0"}), "NUL"),
    "a lone surrogate": (lambda: Problem(text="a\ud800"), "lone surrogate"),
    "a lone surrogate in a pitfall": (
        lambda: Experience(problem=FINE, pitfalls=("\udfff",)),
        "lone surrogate",
    ),
    "a reward that is no number": (lambda: lesson(reward=float("nan")), "reward"),
    "an infinite reward": (
        lambda: Rollout(problem=FINE, completion="c", reward=float("inf")),
        "reward",
    ),
    "an infinite reward in an exposure": (
        lambda: Exposure(problem_id="p", lesson_ids=("l",), guided=(float("-inf"),)),
        "guided",
    ),
    "metadata that is no number": (
        lambda: Problem(text="p", metadata={"level": float("nan")}),
        "metadata",
    ),
    "metadata that is no scalar": (lambda: Problem(text="p", metadata={"level": [1]}), "metadata"),
    "a step beyond 64 bits": (lambda: lesson(step=2**70), "step"),
    "an integer of 5,000 digits": (
        lambda: Problem(text="p", metadata={"n": 10**5000}),
        "metadata",
    ),
    "too long a name": (lambda: lesson(source="s" * (MAX_NAME_CHARS + 1)), "source"),
    "too long a key": (
        lambda: Problem(text="p", metadata={"k" * (MAX_NAME_CHARS + 1): 1}),
        "10,001 characters",
    ),
    "too many keys": (
        lambda: Problem(text="p", metadata={str(i): i for i in range(MAX_ITEMS + 1)}),
        "10,001 entries",
    ),
    "too many parents": (lambda: lesson(parents=("p",) * (MAX_ITEMS + 1)), "parents"),
    "too many principles": (
        lambda: Experience(problem=FINE, principles=("p",) * (MAX_ITEMS + 1)),
        "principles",
    ),
    "too long a reason": (
        lambda: FailedAnswer(role="summarise", problem_id="p", text="t", reason=TEN_MB),
        "reason",
    ),
    "an experience that says nothing": (lambda: Experience(problem=FINE), "all three are empty"),
    "an unknown field": (lambda: Problem(text="p", answr="7"), "answr"),
    "bytes": (lambda: Problem(text=b"\xff"), "Problem.text"),
    "a capacity of 0": (lambda: Limits(capacity=0), "capacity"),
    "an unknown eviction": (lambda: Limits(by="lru"), "by"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_cannot_be_used_is_a_value_error_that_names_it(name: str):
    make, message = BAD[name]
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 2_000  # a message, not the text itself


@pytest.mark.parametrize("key", ["answer", " Answer ", "GROUND_TRUTH", "gold"])
def test_a_reference_answer_never_travels_with_a_problem(key: str):
    with pytest.raises(LabelLeakError, match="reward function"):
        Problem(text="p", metadata={key: "7"})


@pytest.mark.parametrize("k", [0, -1, 2.5, None, "8"])
def test_k_is_a_whole_number_from_1_on(pool: ExperiencePool, k: Any):
    with pytest.raises(InvalidInputError, match="k must be at least 1"):
        pool.retrieve([FINE], k=k)
    with pytest.raises(InvalidInputError, match="width"):
        pool.retrieve([FINE], width=k)
    with pytest.raises(InvalidInputError, match="newest"):
        pool.retrieve([FINE], newest=k)


@pytest.mark.parametrize("queries", ["red apples", FINE, ["red apples"], [None]])
def test_queries_are_a_list_of_problems(pool: ExperiencePool, queries: Any):
    with pytest.raises(InvalidInputError, match=r"list of problems|Problem\(text"):
        pool.retrieve(queries)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan"), float("inf")])
def test_gamma_lies_between_0_and_1(pool: ExperiencePool, gamma: float):
    for make in (
        lambda: SimilarityAtLeast(gamma),
        lambda: Guide(pool, gamma=gamma),
        lambda: pool.explain(FINE, gamma=gamma),
    ):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            make()


def test_the_same_twice_in_one_batch_is_one_and_a_duplicate(pool: ExperiencePool):
    receipts = pool.add([lesson(), lesson(), lesson("green pears"), lesson()])
    assert [r.status for r in receipts] == ["added", "duplicate", "added", "duplicate"]
    assert receipts[0].id == receipts[1].id == receipts[3].id
    assert len(pool) == 2


def test_one_id_for_two_problems_is_rejected_and_the_rest_is_written(pool: ExperiencePool):
    one = Experience(problem=Problem(text="red apples", id="x"), thoughts="t")
    two = Experience(problem=Problem(text="green pears", id="x"), thoughts="t")
    receipts = pool.add([one, two, lesson("blue plums")])
    assert [r.status for r in receipts] == ["added", "rejected", "added"]
    assert "stored with another text" in receipts[1].reason
    assert len(pool) == 2


def test_a_batch_with_something_that_is_no_experience_is_refused_whole(pool: ExperiencePool):
    for wrong in (None, 7, "an experience", {"thoughts": "t"}):
        with pytest.raises(InvalidInputError, match="experiences"):
            pool.add([lesson(), wrong])
    assert len(pool) == 0
    assert pool.store.changes(0).items == ()


def test_a_single_experience_and_a_name_for_a_part_are_explained(pool: ExperiencePool):
    with pytest.raises(InvalidInputError, match=r"add\(\[experience\]\)"):
        pool.add(lesson())
    for part in ("embedder", "retriever"):
        with pytest.raises(InvalidInputError, match=f"{part}='mini' is a name"):
            ExperiencePool(**{part: "mini"})


def test_a_closed_pool_says_so_whatever_its_store(pool: ExperiencePool):
    pool.close()
    pool.close()
    for call in (lambda: pool.add([lesson()]), lambda: pool.retrieve([FINE]), lambda: len(pool)):
        with pytest.raises(PoolClosedError, match="open it again"):
            call()


def test_deleting_what_is_not_there_is_rejected_one_by_one(pool: ExperiencePool):
    pool.add([lesson()])
    receipts = pool.delete(["nothing", lesson().id, "'; DROP TABLE experience; --"])
    assert [r.status for r in receipts] == ["rejected", "added", "rejected"]
    assert len(pool) == 0


def test_text_of_all_sorts_comes_back_to_the_letter(pool: ExperiencePool):
    texts = ["a\u0301 é 中文 \U0001f600", "\\boxed{2} {x} %s $1", "'; DROP TABLE experience; --",
             "line\r\nbreak\ttab\x1b[31m", "\u202eright to left", "a" * MAX_TEXT_CHARS]  # fmt: skip
    pool.add([Experience(problem=Problem(text=f"{i} {t}"[:MAX_TEXT_CHARS]), thoughts=t)
              for i, t in enumerate(texts)])  # fmt: skip
    assert [e.thoughts for e in pool.store.read("experience")] == texts
    assert pool.retrieve([Problem(text="DROP TABLE")])[0][0].experience.thoughts == texts[2]


def test_a_failing_batch_of_all_kinds_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pool = open_pool(tmp_path / "pool.db")
    monkeypatch.setattr(
        "lanpo_memory.stores.sqlite_write.Write._deletion", lambda *_: 1 / 0, raising=True
    )
    batch = Batch(
        experiences=(lesson(),),
        attempts=(Attempt(problem=FINE, text="t"),),
        exposures=(Exposure(problem_id="p", lesson_ids=("l",)),),
        deletions=("x",),
    )
    with pytest.raises(ZeroDivisionError):
        pool.write(batch)
    assert [pool.store.count(k) for k in ("experience", "attempt", "exposure", "problem")] == [
        0
    ] * 4
    assert pool.store.changes(0).items == ()
    assert pool.retrieve([FINE]) == [[]]


class TestExportsFromStrangers:
    @staticmethod
    def altered(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        source = ExperiencePool()
        source.add([lesson(), lesson("green pears")])
        lines = source.snapshot(tmp_path / "s.jsonl").read_text().splitlines()
        record = json.loads(lines[1])
        change(record)
        lines[1] = json.dumps(record)
        (tmp_path / "s.jsonl").write_text("\n".join(lines))
        return tmp_path / "s.jsonl"

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r.update(thoughts=TEN_MB),
            lambda r: r.update(thoughts="\0"),
            lambda r: r["metadata"].update(reward=float("nan")),
            lambda r: r["metadata"].update(step="soon"),
            lambda r: r["problem"].update(answer="7"),
            lambda r: r.update(kind="code"),
            lambda r: r.pop("problem"),
            lambda r: r.update(thoughts="other"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_line_and_nothing_changes(
        self, pool: ExperiencePool, tmp_path: Path, change: Callable[[dict[str, Any]], object]
    ):
        pool.add([lesson("blue plums")])
        before = pool.digest()
        with pytest.raises(PoolFormatError, match=r"line [24]"):
            pool.restore(self.altered(tmp_path, change))
        assert pool.digest() == before

    @pytest.mark.parametrize(
        "content",
        [
            pickle.dumps({"format": "lanpo-pool"}),
            b"\x80\x04\x95",
            b"[" * 100_000,
            b'{"format": "lanpo-pool", "schema_version": true}\n',
            b'{"format": "lanpo-pool", "schema_version": 2}\n' + b"[" * 100_000,
            b'{"format": "lanpo-pool", "schema_version": 2}\n' + b"1" * 5_000,
            "\ud800".encode("utf-8", "surrogatepass"),
        ],
    )
    def test_what_is_no_snapshot_is_refused(
        self, pool: ExperiencePool, tmp_path: Path, content: bytes
    ):
        (tmp_path / "s.jsonl").write_bytes(content)
        with pytest.raises(PoolFormatError):
            pool.restore(tmp_path / "s.jsonl")


def test_nothing_here_unpickles_or_evaluates():
    """Not a proof, a tripwire: whoever adds one of these has to come by here."""
    forbidden = re.compile(r"\b(pickle|marshal|shelve|dill|joblib|eval|exec|__import__)\b\s*[.(]")
    for path in (ROOT / "lanpo_memory").rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            assert not forbidden.search(line), f"{path}:{number}: {line}"
