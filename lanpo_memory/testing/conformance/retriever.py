"""The conformance kit of retrievers."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import Retriever
from lanpo_memory.testing.conformance.samples import any_text
from lanpo_memory.types import Hit, Problem

__all__ = ["RetrieverConformance"]

WORDS = [f"word{i}" for i in range(40)]
CLOSE = 1e-4  # float32 products of a batch and of one row differ in the last digits


def _corpus(n: int, seed: int = 0) -> list[Problem]:
    rng = random.Random(seed)
    return [
        Problem(text=" ".join(rng.choices(WORDS, k=rng.randint(4, 15))), id=f"{seed}-{i}")
        for i in range(n)
    ]


def _ids(hits: list[Hit]) -> list[str]:
    return [hit.problem_id for hit in hits]


class RetrieverConformance:
    """All that `Retriever` says, as tests; subclass it and say `retriever`.

    `SIMILARITY_FOLLOWS_SCORE` is false for a retriever whose hits are ordered by something else
    than their similarity, as a fusion of two rankings is. `EXACT` is false for one that may miss:
    which of many equals it finds is then left open.

    >>> from lanpo_memory.retrievers import BM25Retriever
    >>> class TestBM25(RetrieverConformance):
    ...     def retriever(self) -> Retriever:
    ...         return BM25Retriever()
    """

    SIMILARITY_FOLLOWS_SCORE: ClassVar[bool] = True
    EXACT: ClassVar[bool] = True

    def retriever(self) -> Retriever:
        """A new retriever, empty."""
        raise NotImplementedError(f"{type(self).__name__} has to say how a retriever is made")

    @pytest.fixture
    def index(self) -> Retriever:
        """A retriever of 60 problems."""
        index = self.retriever()
        index.update(_corpus(60), [])
        return index

    def test_it_says_what_its_similarities_mean(self) -> None:
        one, other = self.retriever(), self.retriever()
        assert isinstance(one, Retriever), "a part of Retriever is missing"
        assert one.fingerprint, "the fingerprint names what decides what a similarity means"
        assert one.fingerprint == other.fingerprint, "two alike have one fingerprint"
        assert 0.0 <= one.default_gamma <= 1.0
        before = one.fingerprint
        one.update(_corpus(5), [])
        assert one.fingerprint == before, "the fingerprint does not depend on what is indexed"

    def test_an_empty_index_finds_nothing(self) -> None:
        index = self.retriever()
        assert index.retrieve(_corpus(2), k=3) == [[], []]
        assert index.retrieve([], k=3) == []
        index.update([], [])
        index.update([], ["unknown"])
        assert index.retrieve(_corpus(1), k=3) == [[]]

    def test_an_emptied_index_finds_nothing(self, index: Retriever) -> None:
        index.update([], [p.id for p in _corpus(60)])
        assert index.retrieve(_corpus(2), k=3) == [[], []]
        index.update(_corpus(60)[:1], [])
        assert _ids(index.retrieve(_corpus(1), k=3)[0]) == ["0-0"]

    def test_one_alone_is_found(self) -> None:
        index = self.retriever()
        (alone,) = _corpus(1)
        index.update([alone], [])
        (hits,) = index.retrieve([alone], k=5)
        assert _ids(hits) == [alone.id]
        assert hits[0].similarity > 0.0, "the same text is similar"

    @pytest.mark.parametrize("k", [1, 7, 60, 10_000])
    def test_hits_are_at_most_k_distinct_known_and_best_first(
        self, index: Retriever, k: int
    ) -> None:
        known = {p.id for p in _corpus(60)}
        for hits in index.retrieve(_corpus(8, seed=1), k=k):
            assert len(hits) <= k
            assert len(set(_ids(hits))) == len(hits), "a problem was found twice"
            assert set(_ids(hits)) <= known
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True), "hits come best first"

    def test_a_larger_k_only_adds(self, index: Retriever) -> None:
        few, many = (index.retrieve(_corpus(8, seed=1), k=k) for k in (3, 30))
        for some, more in zip(few, many, strict=True):
            assert _ids(some) == _ids(more)[: len(some)]

    @pytest.mark.parametrize("k", [0, -1])
    def test_a_k_below_one_is_refused(self, index: Retriever, k: int) -> None:
        with pytest.raises(InvalidInputError):
            index.retrieve(_corpus(1), k=k)

    def test_similarity_is_in_0_to_1_and_follows_the_score(self, index: Retriever) -> None:
        for hits in index.retrieve(_corpus(8, seed=1), k=60):
            found = [hit.similarity for hit in hits]
            assert all(0.0 <= similarity <= 1.0 for similarity in found), found
            if self.SIMILARITY_FOLLOWS_SCORE:
                assert found == sorted(found, reverse=True), (
                    "a hit with a higher score is less similar (SIMILARITY_FOLLOWS_SCORE)"
                )

    def test_the_same_text_is_found_first_and_is_most_similar(self, index: Retriever) -> None:
        for problem in _corpus(60)[:10]:
            (hits,) = index.retrieve([Problem(text=problem.text, id="query")], k=60)
            assert hits[0].problem_id == problem.id
            best = max(hit.similarity for hit in hits)
            assert hits[0].similarity == pytest.approx(best, abs=CLOSE)
            assert hits[0].similarity == pytest.approx(1.0, abs=CLOSE), "1 is the same text"

    def test_a_batch_is_answered_as_its_queries_one_by_one(self, index: Retriever) -> None:
        queries = [*_corpus(8, seed=1), *_corpus(2, seed=1)]
        together = index.retrieve(queries, k=5)
        assert len(together) == len(queries)
        for query, hits in zip(queries, together, strict=True):
            (alone,) = index.retrieve([query], k=5)
            assert [h.score for h in hits] == pytest.approx([h.score for h in alone], abs=CLOSE)
            assert _ids(hits) == _ids(alone)

    def test_ties_are_broken_the_same_way_always(self) -> None:
        copies = [Problem(text="the very same words", id=f"copy {i}") for i in range(12)]
        query = Problem(text="the very same words", id="query")
        found = []
        for order in (copies, copies[::-1], [*copies[5:], *copies[:5]]):
            index = self.retriever()
            for problem in order:
                index.update([problem], [])
            (hits,) = index.retrieve([query], k=12)
            assert len(hits) == 12
            if self.SIMILARITY_FOLLOWS_SCORE:
                assert len({hit.score for hit in hits}) == 1, "equal texts have equal scores"
            if self.EXACT:
                assert _ids(index.retrieve([query], k=4)[0]) == _ids(hits)[:4]
            found.append(_ids(hits))
        assert found[0] == found[1] == found[2], "ties depend on the order of insertion"

    def test_adding_what_is_known_does_nothing(self, index: Retriever) -> None:
        queries = _corpus(6, seed=1)
        before = index.retrieve(queries, k=9)
        index.update(_corpus(60)[:20], [])
        index.update([_corpus(1)[0], _corpus(1)[0]], [])
        assert index.retrieve(queries, k=9) == before

    def test_what_is_removed_is_found_no_more_and_may_come_back(self, index: Retriever) -> None:
        problems, queries = _corpus(60), _corpus(6, seed=1)
        before = index.retrieve(queries, k=60)
        gone = {p.id for p in problems[::2]}
        index.update([], [*gone, "unknown"])
        for hits in index.retrieve(queries, k=60):
            assert gone.isdisjoint(_ids(hits)), "a removed problem was found"
        index.update(problems[::2], [])
        for hits, earlier in zip(index.retrieve(queries, k=60), before, strict=True):
            assert sorted(_ids(hits)) == sorted(_ids(earlier))
            assert [h.score for h in hits] == pytest.approx([h.score for h in earlier], abs=CLOSE)

    def test_one_call_removes_and_adds(self, index: Retriever) -> None:
        new = Problem(text="entirely different content", id="new")
        index.update([new], [_corpus(1)[0].id])
        assert _ids(index.retrieve([new], k=60)[0])[0] == "new"
        assert "0-0" not in _ids(index.retrieve([_corpus(1)[0]], k=60)[0])

    def test_it_does_not_matter_in_which_pieces_problems_come(self, index: Retriever) -> None:
        pieces = self.retriever()
        problems, queries = _corpus(60), _corpus(6, seed=1)
        pieces.update(problems[40:], [])
        pieces.update([*problems[:40], Problem(text="will be gone", id="g")], [])
        pieces.update([], ["g"])
        for hits, other in zip(
            index.retrieve(queries, k=9), pieces.retrieve(queries, k=9), strict=True
        ):
            assert [h.score for h in hits] == pytest.approx([h.score for h in other], abs=CLOSE)

    @any_text
    def test_any_text_can_be_indexed_and_asked(self, index: Retriever, text: str) -> None:
        odd = Problem(text=text, id="odd")
        index.update([odd], [])
        for hits in index.retrieve([odd, Problem(text=text[:500], id="query")], k=5):
            assert all(0.0 <= hit.similarity <= 1.0 for hit in hits)

    @pytest.mark.parametrize("text", [".", "?!", "  $ ", "\u200b", "ünknown", "🧮"])
    def test_a_query_of_next_to_nothing_is_answered(self, index: Retriever, text: str) -> None:
        (hits,) = index.retrieve([Problem(text=text, id="query")], k=5)
        assert all(0.0 <= hit.similarity <= 1.0 for hit in hits)
        assert len(hits) <= 5

    def test_what_it_is_handed_stays_as_it_was(self) -> None:
        problems, removed, queries = _corpus(9), ["0-3"], _corpus(3, seed=1)
        index = self.retriever()
        index.update(problems, [])
        index.update(problems, removed)
        index.retrieve(queries, k=2)
        problems.clear()  # and it does not hold on to a list that is not its own
        assert removed == ["0-3"]
        assert queries == _corpus(3, seed=1)
        assert index.retrieve(queries, k=2) == index.retrieve(queries, k=2)

    def test_threads_may_search_while_one_writes(self, index: Retriever) -> None:
        queries, extra, done = _corpus(4, seed=1), _corpus(40, seed=2), threading.Event()

        def search() -> int:
            rounds = 0
            while not done.is_set() or not rounds:
                for hits in index.retrieve(queries, k=7):
                    assert len(set(_ids(hits))) == len(hits) <= 7
                rounds += 1
            return rounds

        with ThreadPoolExecutor(2) as threads:
            results = [threads.submit(search) for _ in range(2)]
            try:
                for i in range(0, 40, 4):
                    index.update(extra[i : i + 4], [extra[i - 2].id] if i else [])
            finally:
                done.set()
            assert all(result.result() for result in results)
