"""What goes into a store comes back: exactly, once, in order."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from lanpo_memory.errors import InvalidInputError, PoolClosedError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.testing.conformance.base import StoreBase, assert_same, statuses, write_both
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import (
    KINDS,
    NO_LIMITS,
    any_text,
    attempt,
    batch_of,
    lesson,
    problem,
)
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Problem,
    Promise,
)

__all__ = ["RecordTests"]

FLOATS = (5e-324, 2.2250738585072014e-308, 1.79e308, -1.79e308, -0.0, 0.0, 0.1, 1.0, 1e16)
INTEGERS = (2**53, -(2**53), 0, 1)
SCALARS = {
    "none": None,
    "true": True,
    "one": 1,
    "float one": 1.0,
    "text one": "1",
    "": "empty key",
    "ключ": "значение",
    **{f"float {value!r}": value for value in FLOATS},
    **{f"int {value}": value for value in INTEGERS},
}
# A tool may have answered with a NUL, and the id of a failed answer is made from these words.
CONVERSATION = [
    {"role": "system", "content": "b before a\0", "b": 1, "a": [None, {"z": 1.5, "y": ()}]},
    {"role": "user", "content": [{"type": "text", "text": "Größe"}]},
]


def _texts(text: str) -> Batch:
    """One text in every field that takes any text."""
    told = Problem(text=text, family=text[:100], metadata={"text": text[:100]})
    metadata = ExperienceMetadata(source=text[:100], policy=text[:100], parents=(text[:100], ""))
    return Batch(
        experiences=(
            Experience(problem=told, thoughts=text, metadata=metadata),
            Experience(problem=told, principles=(text, "b", "a")),
            Experience(problem=told, pitfalls=(text,)),
        ),
        attempts=(Attempt(problem=told, text=text, policy=text[:100]),),
        exposures=(Exposure(problem_id=text[:100], lesson_ids=(text[:100],), group=text[:100]),),
        failures=(
            FailedAnswer(role="r", problem_id=text[:100], text=text, reason=text, problem=told),
        ),
    )


def _extremes() -> Batch:
    told = Problem(text="extremes", metadata=SCALARS)
    plain = Problem(text="nothing", id='an id / of "its" own \' 数', family="")
    return Batch(
        experiences=(
            *[
                Experience(
                    problem=told,
                    principles=(f"reward {value!r}",),
                    metadata=ExperienceMetadata(
                        reward=value, correct=i % 2 == 0, created_at=value, extra=SCALARS
                    ),
                )
                for i, value in enumerate(FLOATS)
            ],
            *[
                Experience(
                    problem=plain,
                    thoughts=f"step {step}",
                    metadata=ExperienceMetadata(step=step, created_at=1.5),
                )
                for step in INTEGERS
            ],
        ),
        attempts=tuple(Attempt(problem=plain, text="t", step=step) for step in INTEGERS),
        exposures=(
            Exposure(problem_id="p", lesson_ids=()),
            Exposure(problem_id="p", lesson_ids=("l",), guided=FLOATS, scratch=FLOATS),
            Exposure(problem_id="p", lesson_ids=("l",), step=2**53, randomised=True),
        ),
        failures=(
            FailedAnswer(role="", problem_id="", text="", reason=""),
            FailedAnswer(role="r", problem_id="p", text="t", reason="r", conversation=[]),
            FailedAnswer(role="r", problem_id="p", text="t", reason="", conversation=CONVERSATION),
            FailedAnswer(
                role="r",
                problem_id="p",
                text="u",
                reason="",
                problem=told,
                metadata=ExperienceMetadata(reward=-0.0, extra=SCALARS, created_at=0.25),
                max_tokens=1,
            ),
        ),
    )


class RecordTests(StoreBase):
    """Round trips, order, duplicates, selection, errors."""

    @any_text
    def test_any_text_comes_back_as_it_was(self, store: ExperienceStore, text: str) -> None:
        reference = MemoryStore()
        write_both(store, reference, _texts(text))
        assert_same(store, reference)

    def test_extreme_numbers_and_empty_fields_come_back_exactly(
        self, store: ExperienceStore
    ) -> None:
        reference = MemoryStore()
        write_both(store, reference, _extremes())
        assert_same(store, reference)

    def test_the_time_of_a_batch_is_that_of_experiences_without_one(
        self, store: ExperienceStore
    ) -> None:
        own = lesson(1)._with(metadata=ExperienceMetadata(created_at=-0.5))
        store.write(Batch(experiences=(lesson(0), own), now=1e9), limits=NO_LIMITS)
        store.write(Batch(experiences=(lesson(2),)), limits=NO_LIMITS)
        times = [e.metadata.created_at for e in store.read("experience")]
        assert times == [1e9, -0.5, None], "`created_at` is its own, else `Batch.now`"

    def test_writing_the_same_again_changes_nothing(self, store: ExperienceStore) -> None:
        reference = MemoryStore()
        write_both(store, reference, batch_of(0))
        told = write_both(store, reference, batch_of(0))
        assert set(statuses(told)) == {"duplicate"}
        twice = lesson(99)
        assert statuses(write_both(store, reference, Batch(experiences=(twice, twice)))) == [
            "added",
            "duplicate",
        ], "the same candidate twice in a batch is one record, and gets two receipts"
        assert_same(store, reference)

    def test_each_candidate_gets_one_receipt_in_the_order_of_the_fields(
        self, store: ExperienceStore
    ) -> None:
        everything = batch_of(1)._with(deletions=(lesson(3).id, "unknown"))
        told = write_both(store, MemoryStore(), everything)
        assert statuses(told[-2:]) == ["added", "rejected"], (
            "a deletion of this batch's own record is `added`, of an unknown id `rejected`"
        )
        assert told[-1].reason, "a rejection says why"
        assert store.write(Batch(), limits=NO_LIMITS) == []

    def test_what_is_read_comes_oldest_first(self, store: ExperienceStore) -> None:
        reference = MemoryStore()
        # Ids are hashes: a store that sorts by them, or by time, or by problem, is found out.
        for n in (5, 3, 8, 1):
            mixed = tuple(lesson(n * 10 + i, of=i % 3) for i in (4, 0, 3, 1, 2))
            batch = Batch(experiences=mixed, attempts=(attempt(n), attempt(n, 1)))
            write_both(store, reference, batch)
        assert_same(store, reference)

    def test_a_selection_holds_what_was_asked_for_and_nothing_else(
        self, store: ExperienceStore
    ) -> None:
        reference = MemoryStore()
        for n in range(3):
            write_both(store, reference, batch_of(n))
        held = [r.id for r in reference.read("experience")]
        problems = [problem(4).id, "unknown", problem(1).id, problem(4).id]
        ids = [held[7], "unknown", held[2], held[7], held[30]]
        for kind in (*KINDS, "problem"):
            choices: tuple[dict[str, Any], ...] = (
                {"ids": []},
                {"problems": []},
                {"ids": ids},
                {"problems": problems},
                {"newest": 2},
                {"problems": problems, "newest": 1},
                *([] if kind == "problem" else [{"ids": ids, "problems": [problem(0).id]}]),
            )
            for asked in choices:
                found = store.read(kind, **asked)
                wanted = reference.read(kind, **asked)
                assert found == wanted, f"read({kind!r}, **{asked}) differs from what it should be"
        assert store.read("experience", ids=ids) == [
            e for e in reference.read("experience") if e.id in ids
        ], "`read` returns records in the order they were written, each once"

    def test_the_first_words_of_a_problem_stay(self, store: ExperienceStore) -> None:
        first = Problem(text="a  triangle", family="f", metadata={"n": 1})
        again = Problem(text=" a triangle\n", family="g")
        assert first.id == again.id
        clash = Problem(text="a square", id=first.id)
        batch = Batch(
            experiences=tuple(
                Experience(problem=told, thoughts=f"lesson {n}")
                for n, told in enumerate((first, again, clash))
            ),
            attempts=tuple(Attempt(problem=told, text="t") for told in (clash, again)),
        )
        reference = MemoryStore()
        told = write_both(store, reference, batch)
        assert statuses(told) == ["added", "added", "rejected", "rejected", "added"], (
            "another text under a known id is rejected, other blanks are not another text"
        )
        assert "another text" in told[2].reason
        assert {e.problem.family for e in store.read("experience")} == {"f"}
        assert_same(store, reference)

    def test_a_scan_yields_every_record_in_both_directions(self, store: ExperienceStore) -> None:
        for n in range(2):
            store.write(batch_of(n), limits=NO_LIMITS)
        for kind in KINDS:
            forward = list(store.scan(kind))
            assert forward == store.read(kind)
            assert list(store.scan(kind, newest_first=True)) == forward[::-1]

    def test_deleted_records_are_gone_and_may_come_back(self, store: ExperienceStore) -> None:
        reference = MemoryStore()
        write_both(store, reference, batch_of(0))
        gone = [lesson(0).id, lesson(1).id, batch_of(0).failures[1].id]
        write_both(store, reference, Batch(deletions=(*gone, gone[0], attempt(0).id)))
        assert_same(store, reference)
        assert store.read("experience", ids=gone) == []
        write_both(store, reference, Batch(experiences=(lesson(1),), deletions=(lesson(2).id,)))
        assert_same(store, reference)
        assert store.read("experience")[-1].id == lesson(1).id, "what comes back is the newest"

    def test_a_problem_without_experiences_is_no_problem_of_the_pool(
        self, store: ExperienceStore
    ) -> None:
        reference = MemoryStore()
        write_both(store, reference, Batch(experiences=(lesson(0),), attempts=(attempt(0, 1),)))
        assert [p.id for p in store.read("problem")] == [problem(0).id]
        write_both(store, reference, Batch(deletions=(lesson(0).id,)))
        assert store.read("problem") == []
        assert store.count("problem") == 0
        assert_same(store, reference)

    @proves(Promise.ATOMIC)
    def test_replace_leaves_the_batch_alone(self, store: ExperienceStore, place: str) -> None:
        reference = MemoryStore()
        write_both(store, reference, batch_of(0))
        # Also the words of a problem go: its id is free for others.
        renamed = Problem(text="quite another", id=problem(0).id)
        new = Batch(
            experiences=(Experience(problem=renamed, thoughts="t"), lesson(1, 1)), replace=True
        )
        assert statuses(write_both(store, reference, new)) == ["added", "added"]
        assert_same(store, reference)
        write_both(store, reference, Batch(replace=True))
        assert not any(map(store.count, KINDS)), "an empty batch with `replace` empties the store"

    def test_an_unknown_kind_is_refused(self, store: ExperienceStore) -> None:
        with pytest.raises(InvalidInputError, match="kind"):
            store.read("lesson")  # type: ignore[call-overload]
        with pytest.raises(InvalidInputError, match="kind"):
            store.count("lesson")
        with pytest.raises(InvalidInputError, match="kind"):
            list(store.scan("lesson"))  # type: ignore[arg-type]
        store.write(batch_of(0), limits=NO_LIMITS)

    def test_a_closed_store_says_so_and_closing_twice_is_nothing(
        self, store: ExperienceStore, place: str
    ) -> None:
        store.write(batch_of(0), limits=NO_LIMITS)
        store.close()
        store.close()
        try:
            store.write(batch_of(1), limits=NO_LIMITS)
            held = store.count("experience")
        except PoolClosedError:
            return
        assert held == 2 * len(batch_of(0).experiences), "a closed store has lost a write silently"

    def test_it_is_a_store_and_says_what_it_promises(self, store: ExperienceStore) -> None:
        assert isinstance(store, ExperienceStore), "a method of ExperienceStore is missing"
        assert store.promises <= frozenset(Promise)
        assert store.namespace == "default"
        kinds = chain.from_iterable(store.scan(kind) for kind in KINDS)
        assert not list(kinds), "`place` has to be empty when a test begins"
