"""The conformance kit finds what it is there to find: parts that are broken in one way each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.reflectors import InRolloutReflector
from lanpo_memory.relevance import LexicalRelevance
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.testing.conformance import (
    EmbedderConformance,
    ReflectorConformance,
    RelevanceConformance,
    RetrieverConformance,
    StoreConformance,
    SummarizerConformance,
    proves,
)
from lanpo_memory.testing.conformance.capabilities import BASE, rewritten, table
from lanpo_memory.types import Batch, Changes, Failure, Promise

FAILS = (AssertionError, pytest.fail.Exception)


# ---------------------------------------------------------------------- stores


class ReadsBackwards(MemoryStore):
    def read(self, kind: Any, **options: Any) -> list[Any]:
        return super().read(kind, **options)[::-1]


class ForgetsReceipts(MemoryStore):
    def write(self, batch: Batch, **options: Any) -> list[Any]:
        return super().write(batch, **options)[:-1]


class RoundsRewards(MemoryStore):
    def write(self, batch: Batch, **options: Any) -> list[Any]:
        rounded = tuple(
            e._with(metadata=e.metadata._with(reward=e.metadata.reward and e.metadata.reward + 0.0))
            for e in batch.experiences
        )
        return super().write(batch._with(experiences=rounded), **options)

    def read(self, kind: Any, **options: Any) -> list[Any]:
        found = super().read(kind, **options)
        if kind == "experience":
            return [
                e._with(metadata=e.metadata._with(reward=0.0)) if not e.metadata.reward else e
                for e in found
            ]
        return found


class NeverEvicts(MemoryStore):
    def write(self, batch: Batch, *, limits: Any, **options: Any) -> list[Any]:
        return super().write(batch, limits=limits._with(capacity=None), **options)


class LosesLines(MemoryStore):
    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        items, head = super().changes(since, limit=limit)
        return Changes(items[:3], head)


class RepeatsLines(MemoryStore):
    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        head = super().changes(0, limit=0).head
        return super().changes(since - 1 if since < head else since, limit=limit)


class WritesHalf(MemoryStore):
    def write(self, batch: Batch, *, worth: Any = None, **options: Any) -> list[Any]:
        if worth is not None:
            super().write(Batch(attempts=batch.attempts), **options)
        return super().write(batch, worth=worth, **options)


class ServesStaleCache(MemoryStore):
    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        super().cache([(key, value) for key, value in items if self.cached([key]) == [None]])


class MovesWithinAView(SQLiteStore):
    def view(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


class PromisesLess(MemoryStore):
    """Keeps by halves what it does not promise."""

    promises: ClassVar[frozenset[Promise]] = frozenset()


class ForgetsNothing(SQLiteStore):
    promises = frozenset(Promise) - {
        Promise.DURABLE, Promise.NAMESPACES, Promise.READERS, Promise.PROCESSES,
    }  # fmt: skip


class Opened(StoreConformance):
    def __init__(self, make: Callable[[str], Any] = SQLiteStore) -> None:
        self.make = make

    def open(self, place: str, *, namespace: str = "default", create: bool = True) -> Any:
        return self.make(place)


class OfForgetsNothing(StoreConformance):
    """At the top of the file: second processes load it."""

    def open(self, place: str, *, namespace: str = "default", create: bool = True) -> Any:
        return ForgetsNothing(place, namespace=namespace, create=create)


def in_memory(store: Callable[[], MemoryStore]) -> Callable[[str], MemoryStore]:
    return lambda _: store()


BROKEN: list[tuple[Callable[[str], Any], str]] = [
    (in_memory(ReadsBackwards), "test_what_is_read_comes_oldest_first"),
    (in_memory(ForgetsReceipts), "test_each_candidate_gets_one_receipt_in_the_order_of_the_fields"),
    (in_memory(RoundsRewards), "test_extreme_numbers_and_empty_fields_come_back_exactly"),
    (in_memory(NeverEvicts), "test_over_capacity_the_oldest_of_a_problem_go"),
    (in_memory(NeverEvicts), "test_any_history_leaves_the_store_as_the_model"),
    (in_memory(LosesLines), "test_the_log_replayed_gives_what_is_stored"),
    (in_memory(RepeatsLines), "test_a_follower_sees_everything_exactly_once"),
    (in_memory(WritesHalf), "test_a_worth_that_raises_leaves_nothing_behind"),
    (in_memory(ServesStaleCache), "test_the_last_word_stays"),
    (MovesWithinAView, "test_a_view_is_one_moment"),
    (in_memory(PromisesLess), "test_replace_leaves_the_batch_alone"),
    (in_memory(PromisesLess), "test_beyond_the_end_there_is_nothing"),
    (in_memory(PromisesLess), "test_bytes_come_back_exactly"),
    (ForgetsNothing, "test_everything_is_there_after_reopening"),
    (ForgetsNothing, "test_namespaces_never_meet"),
]


@pytest.mark.parametrize(
    ("make", "test"), BROKEN, ids=[f"{i} {test}" for i, (_, test) in enumerate(BROKEN)]
)
def test_a_broken_store_is_found(make: Callable[[str], Any], test: str, tmp_path: Path):
    kit, place = Opened(make), str(tmp_path / "pool")
    kit.SHRINKS = False
    with kit.opened(place) as store:
        about = getattr(getattr(Opened, test), "proves", None)
        fixtures = {"store": store} | ({"place": place} if about or "history" in test else {})
        with pytest.raises(FAILS):
            getattr(kit, test)(**fixtures)


@pytest.mark.parametrize(
    "test",
    [
        "test_another_process_sees_every_acknowledged_write",
        "test_processes_that_write_at_once_lose_nothing",
    ],
)
def test_what_other_processes_may_do_without_a_promise_is_found(test: str, tmp_path: Path):
    kit, place = OfForgetsNothing(), str(tmp_path / "pool")
    with kit.opened(place) as store, pytest.raises(FAILS, match="not promised"):
        getattr(kit, test)(store=store, place=place)


def test_an_error_in_a_second_process_is_shown(tmp_path: Path):
    with OfForgetsNothing().process(str(tmp_path / "no folder" / "pool")) as other:
        with pytest.raises(FAILS, match="PoolNotFoundError"):
            other.ask("open")
        with pytest.raises(FAILS, match="no attribute 'nonsense'"):
            other.ask("nonsense")


def test_a_class_that_no_other_process_can_load_is_told_so():
    class Local(Opened):
        pass

    with pytest.raises(FAILS, match="top of its file"):
        Local().process("anywhere")


def test_a_test_says_which_promise_it_proves():
    @proves(Promise.ATOMIC, Promise.CACHE)
    def test(self: object, store: object, place: str) -> None: ...

    assert test.proves == (Promise.ATOMIC, Promise.CACHE)


@pytest.mark.parametrize("package", ["pytest", "hypothesis"])
def test_without_its_packages_the_kit_says_what_to_install(package: str):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "try:\n    import lanpo_memory.testing.conformance\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert package in done.stdout
    assert "pip install 'lanpo[testing]'" in done.stdout


# ---------------------------------------------------------------------- other parts


class Repeats(BM25Retriever):
    def retrieve(self, queries: Any, *, k: int) -> Any:
        return [
            [hit for hit in hits for _ in (0, 1)][:k] for hits in super().retrieve(queries, k=k)
        ]


class NeverForgets(BM25Retriever):
    def update(self, added: Any, removed: Any) -> None:
        super().update(added, [])


class TellsRewards(LLMSummarizer):
    def ask(self, rollouts: Any) -> Any:
        return [
            request.model_copy(
                update={
                    "conversation": [
                        {"role": "system", "content": f"{rollouts[request.rollouts[0]].reward}"},
                        *request.conversation,
                    ]
                }
            )
            for request in super().ask(rollouts)
        ]


class DropsFailures(LLMSummarizer):
    def read(self, rollouts: Any, answers: Any) -> Any:
        return [r for r in super().read(rollouts, answers) if not isinstance(r, Failure)]


class Doubles(LexicalRelevance):
    def score(self, pairs: Any) -> Any:
        return super().score(pairs).astype(np.float64)


class LooksAround(LexicalRelevance):
    def score(self, pairs: Any) -> Any:
        return np.minimum(super().score(pairs) / max(1, len(pairs)), 1.0).astype(np.float32)


class TellsSteps(InRolloutReflector):
    def reflect(self, attempts: Any) -> Any:
        return [
            g._with(text=f"step {a.step}: {g.text}")
            for a, g in zip(attempts, super().reflect(attempts), strict=True)
        ]


class LongRows(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(texts) * 2


PARTS: list[tuple[type[Any], str, Callable[[], Any], str]] = [
    (RetrieverConformance, "retriever", Repeats, "test_one_alone_is_found"),
    (RetrieverConformance, "retriever", NeverForgets, "test_an_emptied_index_finds_nothing"),
    (
        SummarizerConformance,
        "summarizer",
        lambda: TellsRewards(prompts=EnglishPrompts()),
        "test_rewards_leave_the_question_as_it_is",
    ),
    (
        SummarizerConformance,
        "summarizer",
        lambda: DropsFailures(prompts=EnglishPrompts()),
        "test_an_answer_that_failed_is_a_failure",
    ),
    (RelevanceConformance, "relevance", Doubles, "test_scores_are_one_each_in_0_to_1"),
    (RelevanceConformance, "relevance", LooksAround, "test_a_pair_scores_alone_as_among_others"),
    (
        ReflectorConformance,
        "reflector",
        lambda: TellsSteps(EnglishPrompts()),
        "test_names_steps_and_metadata_are_never_shown",
    ),
    (EmbedderConformance, "embedder", LongRows, "test_texts_become_unit_rows"),
]


@pytest.mark.parametrize(("kit", "name", "make", "test"), PARTS, ids=[test for *_, test in PARTS])
def test_a_broken_part_is_found(kit: type[Any], name: str, make: Callable[[], Any], test: str):
    subject = type("Subject", (kit,), {name: lambda _: make()})()
    fixtures = {}
    if test == "test_an_emptied_index_finds_nothing":
        fixtures["index"] = make()
        fixtures["index"].update(_sixty(), [])
    with pytest.raises(FAILS):
        getattr(subject, test)(**fixtures)


def _sixty() -> Any:
    from lanpo_memory.testing.conformance.retriever import _corpus

    return _corpus(60)


# ---------------------------------------------------------------------- the table


def test_the_table_tells_kept_from_refused_and_from_untested():
    cells = {"a": {BASE: 2, "atomic": 1}, "b": {BASE: 2, "atomic": None, "cache": 3}}
    assert table(cells).splitlines()[2:] == [
        "| a | kept (2 tests) | kept (1 test) | – |",
        "| b | kept (2 tests) | refused | kept (3 tests) |",
    ]


def test_a_page_without_markers_is_left_alone():
    with pytest.raises(ValueError, match="needs the lines"):
        rewritten("no markers", "table")
