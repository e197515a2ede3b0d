"""The conformance kit of relevance scorers."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from lanpo_memory.protocols import Relevance
from lanpo_memory.testing.conformance.samples import any_text
from lanpo_memory.types import Experience, Problem

__all__ = ["RelevanceConformance"]

CLOSE = 1e-5
Pair = tuple[Problem, Experience]


def _pairs(n: int = 12) -> list[Pair]:
    rng = random.Random(0)
    words = [
        "add",
        "two",
        "three",
        "red",
        "apples",
        "green",
        "pears",
        "triangle",
        "side",
        "area",
        "sum",
        "of",
    ]
    texts = [" ".join(rng.choices(words, k=6)) for _ in range(2 * n)]
    return [
        (
            Problem(text=texts[i]),
            Experience(problem=Problem(text=texts[n + i]), principles=(f"lesson {i}",)),
        )
        for i in range(n)
    ]


class RelevanceConformance:
    """All that `Relevance` says, as tests; subclass it and say `relevance`.

    >>> from lanpo_memory.relevance import LexicalRelevance
    >>> class TestLexical(RelevanceConformance):
    ...     def relevance(self) -> Relevance:
    ...         return LexicalRelevance()
    """

    def relevance(self) -> Relevance:
        """A scorer."""
        raise NotImplementedError(f"{type(self).__name__} has to say how a relevance is made")

    def _scores(self, pairs: list[Pair]) -> NDArray[np.float32]:
        scores = self.relevance().score(pairs)
        assert isinstance(scores, np.ndarray), "`score` returns an array"
        assert scores.shape == (len(pairs),), f"one score for each pair, not {scores.shape}"
        assert scores.dtype == np.float32, f"float32, not {scores.dtype}"
        assert np.isfinite(scores).all(), "a score is a number"
        assert ((scores >= 0.0) & (scores <= 1.0)).all(), f"scores are in 0..1: {scores}"
        return scores

    def test_it_says_what_its_scores_mean(self) -> None:
        one = self.relevance()
        assert one.fingerprint, "a gamma belongs to one fingerprint"
        assert one.fingerprint == self.relevance().fingerprint
        before = one.fingerprint
        one.score(_pairs())
        assert one.fingerprint == before, "scoring changes the fingerprint"
        assert 0.0 <= one.default_gamma <= 1.0

    def test_scores_are_one_each_in_0_to_1(self) -> None:
        self._scores(_pairs())

    def test_no_pairs_have_no_scores(self) -> None:
        assert self._scores([]).size == 0

    def test_scores_come_in_the_order_of_the_pairs(self) -> None:
        pairs = _pairs()
        order = list(range(len(pairs)))
        random.Random(1).shuffle(order)
        scores = self._scores(pairs)
        shuffled = self._scores([pairs[i] for i in order])
        assert shuffled == pytest.approx(scores[order], abs=CLOSE)

    def test_a_pair_scores_alone_as_among_others(self) -> None:
        pairs = _pairs()
        together = self._scores([*pairs, *pairs])
        alone = np.concatenate([self._scores([pair]) for pair in pairs])
        assert together == pytest.approx(np.concatenate([alone, alone]), abs=CLOSE)

    def test_the_same_again_scores_the_same(self) -> None:
        relevance = self.relevance()
        first = relevance.score(_pairs())
        assert np.array_equal(first, relevance.score(_pairs()))
        assert _pairs() == _pairs()

    def test_what_it_is_handed_stays_as_it_was(self) -> None:
        pairs = _pairs()
        self.relevance().score(pairs)
        assert pairs == _pairs()

    @any_text
    def test_any_text_is_scored(self, text: str) -> None:
        odd = Problem(text=text)
        lesson = Experience(problem=odd, thoughts=text)
        plain = _pairs(1)[0]
        self._scores([(odd, lesson), (plain[0], lesson), (odd, plain[1])])
