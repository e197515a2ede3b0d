from __future__ import annotations

import random

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory import Problem
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.texts import words

VOCABULARY = [f"w{i}" for i in range(40)]


def corpus(n: int, seed: int) -> list[Problem]:
    rng = random.Random(seed)
    return [
        Problem(text=" ".join(rng.choices(VOCABULARY, k=rng.randint(3, 30))), id=f"p{i}")
        for i in range(n)
    ]


def reference(problems: list[Problem], query: str) -> dict[str, float]:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([words(p.text) for p in problems], show_progress=False)
    tokens = [t for t in words(query) if t in index.vocab_dict]
    scores = index.get_scores(tokens)
    return {p.id: float(s) for p, s in zip(problems, scores, strict=True) if s > 0}


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_reference(seed: int):
    problems = corpus(200, seed)
    index = BM25Retriever()
    index.update(problems, [])
    query = "w1 w2 w3 w4 w39 w1 unseen"
    ours, theirs = index.scores(query), reference(problems, query)
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose([ours[i] for i in theirs], list(theirs.values()), rtol=1e-5)


def test_scores_equal_the_reference_after_removals_and_additions():
    problems = corpus(600, 7)
    index = BM25Retriever()
    index.update(problems[:400], [])
    index.update([], [p.id for p in problems[:350]])  # more than half: compacts
    index.update(problems[400:], [])
    query = "w5 w6 w7 w8"
    ours, theirs = index.scores(query), reference(problems[350:], query)
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose([ours[i] for i in theirs], list(theirs.values()), rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 14)), max_size=60))
def test_any_history_of_writes_equals_a_fresh_index(history: list[tuple[bool, int]]):
    problems = corpus(15, 3)
    live: dict[str, Problem] = {}
    index = BM25Retriever()
    for adds, i in history:
        problem = problems[i]
        if adds:
            index.update([problem], [])
            live.setdefault(problem.id, problem)
        else:
            index.update([], [problem.id])
            live.pop(problem.id, None)
    fresh = BM25Retriever()
    fresh.update(sorted(live.values(), key=lambda p: p.id), [])
    assert len(index) == len(live)
    query = Problem(text="w1 w2 w3 w4 w5")
    got, expected = (each.retrieve([query], k=5)[0] for each in (index, fresh))
    assert [h.problem_id for h in got] == [h.problem_id for h in expected]
    assert [h.score for h in got] == pytest.approx([h.score for h in expected])


def test_similarity_is_one_for_the_same_words_and_lies_in_0_1():
    problems = corpus(50, 1)
    index = BM25Retriever()
    index.update(problems, [])
    for problem in problems[:10]:
        hits = index.retrieve([problem], k=50)[0]
        assert hits[0].problem_id == problem.id
        assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
        assert all(0 < h.similarity <= 1 for h in hits)
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_equals_are_ordered_the_same_way_always_and_none_is_favoured():
    problems = [Problem(text=f"same words {i}", id=f"p{i}") for i in range(100)]
    forward, backward = BM25Retriever(), BM25Retriever()
    forward.update(problems, [])
    backward.update(problems[::-1], [])
    first = set()
    for i in range(50):
        query = Problem(text="same words", id=f"q{i}")
        a, b = (each.retrieve([query], k=3)[0] for each in (forward, backward))
        assert [h.problem_id for h in a] == [h.problem_id for h in b]
        first.add(a[0].problem_id)
    assert len(first) > 20


def test_names_that_differ_by_more_than_case_are_told_apart():
    index = BM25Retriever()
    index.update([Problem(text="bako bako 8_6", id="b"), Problem(text="rilu rilu 8_6", id="r")], [])
    assert index.retrieve([Problem(text="rilu rilu 1_2")], k=1)[0][0].problem_id == "r"


def test_edges():
    index = BM25Retriever()
    query = Problem(text="anything")
    assert index.retrieve([query], k=3) == [[]]
    index.update([Problem(text="one", id="one")], [])
    assert index.retrieve([query], k=3) == [[]]
    assert index.retrieve([Problem(text="¿?¡!")], k=3) == [[]]
    assert index.retrieve([], k=3) == []
    index.update([Problem(text="two", id="one")], ["unknown"])  # a known id is left as it is
    assert index.scores("two") == {}
    with pytest.raises(InvalidInputError, match="at least 1"):
        index.retrieve([query], k=0)
    index.update([], ["one"])
    assert len(index) == 0
    assert index.retrieve([Problem(text="one")], k=1) == [[]]
