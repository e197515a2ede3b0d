"""Scorers of relevance: a judge, embeddings, shared words. One interface, a gamma for each."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanpo_memory import Experience, ExperienceMetadata, ExperiencePool, Guide, Problem, open_pool
from lanpo_memory.calibration import calibrate_gamma
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.ledger import Ledger
from lanpo_memory.relevance import (
    CosineRelevance,
    JudgeRelevance,
    JudgeWarning,
    LexicalRelevance,
)
from lanpo_memory.stores import MemoryStore
from lanpo_memory.testing import HashingEmbedder, ScriptedChoiceScorer


class Prompts:
    """Shows the judge whatever it can get hold of."""

    def __init__(self, wording="Does it help?"):
        self.wording = wording

    def judge(self, problem, experience):
        content = f"{self.wording}\n{problem.model_dump()}\n{experience.model_dump()}"
        return [{"role": "user", "content": content}]


def judge_of(probability=0.8, *, store=None, ledger=None, chunk=64, wording="Does it help?"):
    scorer = ScriptedChoiceScorer(probability, ledger=ledger)
    return JudgeRelevance(scorer, prompts=Prompts(wording), store=store, chunk=chunk), scorer


def lesson(text, problem="somewhere else 7", **metadata):
    return Experience(
        problem=Problem(text=problem),
        principles=(text,),
        metadata=ExperienceMetadata(**metadata),
    )


def pairs_of(n):
    return [(Problem(text=f"problem {i}"), lesson(f"lesson {i}")) for i in range(n)]


class NoCache(MemoryStore):
    promises = frozenset()

    def cached(self, keys):
        raise AssertionError("this store keeps no cache")

    def cache(self, items):
        raise AssertionError("this store keeps no cache")


# ---------------------------------------------------------------------- the judge


def test_the_score_is_the_share_of_yes_between_yes_and_no():
    class Scorer(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            assert list(choices) == ["yes", "no"]
            assert role == "judge"
            return np.log(np.array([[0.06, 0.02], [0.3, 0.3], [0.0001, 0.9]], dtype=np.float32))

    judge = JudgeRelevance(Scorer(0.5), prompts=Prompts())
    scores = judge.score(pairs_of(3))
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([0.75, 0.5, 0.0001 / 0.9001], rel=1e-5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-math.inf, -1.0], 0.0),
        ([-1.0, -math.inf], 1.0),
        ([-4000.0, -1.0], 0.0),
        ([-1.0, -4000.0], 1.0),
    ],
)
def test_extreme_log_probabilities_stay_probabilities(row, expected):
    class Scorer(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            return np.array([row], dtype=np.float32)

    store = MemoryStore()
    judge = JudgeRelevance(Scorer(0.5), prompts=Prompts(), store=store)
    assert judge.score(pairs_of(1)).tolist() == [expected]
    assert judge.score(pairs_of(1)).tolist() == [expected]
    assert (judge.asked, judge.reused) == (1, 1)


def test_the_judge_sees_problem_text_and_lesson_and_nothing_else():
    problem = Problem(text="the question", id="QID", family="QFAM", metadata={"m": "QMETA"})
    told = Experience(
        problem=Problem(text="ORIGIN", id="OID", family="OFAM", metadata={"m": "OMETA"}),
        thoughts="the thoughts",
        principles=("the principle",),
        pitfalls=("the pitfall",),
        metadata=ExperienceMetadata(
            reward=0.123, correct=True, source="SRC", step=987, policy="POL", parents=("PAR",)
        ),
    )
    judge, scorer = judge_of()
    judge.score([(problem, told)])
    seen = scorer.asked[0][0]["content"]
    for word in ("the question", "the thoughts", "the principle", "the pitfall"):
        assert word in seen
    for word in (
        *("QID", "QFAM", "QMETA", "ORIGIN", "OID", "OFAM", "OMETA"),
        *("0.123", "True", "SRC", "987", "POL", "PAR"),
    ):
        assert word not in seen


def test_the_fingerprint_names_the_model_and_the_wording():
    def fingerprint(name="a", wording="w"):
        return JudgeRelevance(ScriptedChoiceScorer(0.5, name=name), prompts=Prompts(wording))

    same = fingerprint().fingerprint
    assert same == fingerprint().fingerprint
    assert same.startswith(f"judge:{ScriptedChoiceScorer(0.5, name='a').fingerprint}")
    assert len({same, fingerprint(name="b").fingerprint, fingerprint(wording="v").fingerprint}) == 3


def test_scores_are_kept_in_the_file_and_not_asked_twice(tmp_path):
    pairs = pairs_of(5)
    with open_pool(tmp_path / "pool.db") as pool:
        judge, scorer = judge_of(lambda m: len(str(m)) % 7 / 7, store=pool.store)
        first = judge.score(pairs)
        assert len(scorer.asked) == 5
    with open_pool(tmp_path / "pool.db") as pool:
        judge, scorer = judge_of(store=pool.store)
        assert judge.score(pairs).tolist() == first.tolist()
        assert scorer.asked == []
        assert (judge.asked, judge.reused, judge.failed) == (0, 5, 0)


def test_a_score_belongs_to_judge_problem_text_and_lesson():
    store = MemoryStore()
    judge, scorer = judge_of(store=store)
    told = lesson("count on")
    judge.score([(Problem(text="one"), told)])
    # the same text under another id and family, the same lesson learned elsewhere, with a reward
    again = Problem(text="one", id="other", family="f")
    judge.score([(again, lesson("count on", "far away 8", reward=1.0, correct=True, step=4))])
    assert len(scorer.asked) == 1
    judge.score([(Problem(text="two"), told), (Problem(text="one"), lesson("count back"))])
    assert len(scorer.asked) == 3
    for other, asked in (
        judge_of(store=store, wording="Is it of use?"),
        (
            JudgeRelevance(
                named := ScriptedChoiceScorer(0.2, name="b"), prompts=Prompts(), store=store
            ),
            named,
        ),
    ):
        other.score([(Problem(text="one"), told)])
        assert len(asked.asked) == 1


def test_a_pair_that_stands_twice_in_a_call_is_asked_once():
    judge, scorer = judge_of(lambda m: 0.25 if "lesson 0" in m[0]["content"] else 0.75)
    a, b = pairs_of(2)
    assert judge.score([a, b, a, a]).tolist() == [0.25, 0.75, 0.25, 0.25]
    assert len(scorer.asked) == 2


@pytest.mark.parametrize("store", [None, NoCache()], ids=["no store", "no promise"])
def test_without_a_cache_each_call_asks(store):
    judge, scorer = judge_of(store=store)
    judge.score(pairs_of(2))
    judge.score(pairs_of(2))
    assert len(scorer.asked) == 4


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00", b"12345", np.float32("nan").tobytes(), np.float32(1.5).tobytes()],
    ids=["empty", "short", "long", "nan", "out of range"],
)
def test_a_kept_value_that_cannot_be_read_is_asked_again(garbage):
    class Store(MemoryStore):
        def keys(self):
            return list(self._cache)

    store = Store()
    judge, scorer = judge_of(store=store)
    (score,) = judge.score(pairs_of(1))
    (key,) = store.keys()
    store.cache([(key, garbage)])
    assert judge.score(pairs_of(1)).tolist() == [score]
    assert len(scorer.asked) == 2
    judge.score(pairs_of(1))
    assert len(scorer.asked) == 2


def test_a_failed_call_counts_as_irrelevant_is_said_once_and_asked_again():
    down = {"lesson 1", "lesson 2"}
    store = MemoryStore()
    judge, scorer = judge_of(
        lambda m: None if any(d in m[0]["content"] for d in down) else 0.75, store=store
    )
    with pytest.warns(JudgeWarning, match="no answer for 2 of 4 pairs") as said:
        assert judge.score(pairs_of(4)).tolist() == [0.75, 0.0, 0.0, 0.75]
    assert said[0].filename == __file__, "it points to who asked"
    down.remove("lesson 1")
    assert judge.score(pairs_of(4)).tolist() == [0.75, 0.75, 0.0, 0.75]  # no second warning
    assert (judge.asked, judge.failed, judge.reused) == (6, 3, 2)
    down.clear()
    assert judge.score(pairs_of(4)).tolist() == [0.75] * 4
    assert len(scorer.asked) == 7


def test_two_impossible_answers_are_no_answer():
    class Scorer(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            return np.full((1, 2), -np.inf, dtype=np.float32)

    judge = JudgeRelevance(Scorer(0.5), prompts=Prompts())
    with pytest.warns(JudgeWarning):
        assert judge.score(pairs_of(1)).tolist() == [0.0]


def test_each_chunk_is_kept_before_the_next_is_asked():
    store = MemoryStore()

    def stops(messages):
        if "lesson 5" in messages[0]["content"]:
            raise KeyboardInterrupt
        return 0.75

    judge, _ = judge_of(stops, store=store, chunk=2)
    with pytest.raises(KeyboardInterrupt):
        judge.score(pairs_of(8))
    judge, _ = judge_of(store=store, chunk=2)
    judge.score(pairs_of(8))
    assert (judge.reused, judge.asked) == (4, 4)


def test_a_budget_is_used_to_the_last_call_and_what_was_asked_is_kept():
    store = MemoryStore()
    judge, scorer = judge_of(store=store, ledger=Ledger(max_calls=11))
    with pytest.raises(BudgetExceeded, match="max_calls=11"):
        judge.score(pairs_of(20))
    assert len(scorer.asked) == judge.asked == 11
    judge, scorer = judge_of(store=store, ledger=Ledger(max_calls=9))
    assert judge.score(pairs_of(20)).tolist() == pytest.approx([0.8] * 20)


def test_a_model_without_log_probabilities_is_an_error():
    class Scorer(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            raise ConfigError("openai/no-logprobs does not tell log-probabilities")

    with pytest.raises(ConfigError, match="no-logprobs"):
        JudgeRelevance(Scorer(0.5), prompts=Prompts()).score(pairs_of(1))


def test_rows_of_the_wrong_shape_are_an_error():
    class Scorer(ScriptedChoiceScorer):
        def choice_logprobs(self, conversations, choices, *, role="judge"):
            return np.zeros((1, 3), dtype=np.float32)

    with pytest.raises(ConfigError, match=r"shape \(1, 3\), not \(2, 2\)"):
        JudgeRelevance(Scorer(0.5), prompts=Prompts()).score(pairs_of(2))


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_holds_something(chunk):
    with pytest.raises(ConfigError, match="chunk must be at least 1"):
        judge_of(chunk=chunk)


# ---------------------------------------------------------------------- shared words


def alike(a, b):
    return float(LexicalRelevance().score([(Problem(text=a), lesson("x", b))])[0])


TEXT = st.text(min_size=1, max_size=60).filter(
    lambda t: t.strip() and "\0" not in t and t.isprintable()
)


@given(a=TEXT, b=TEXT)
def test_likeness_is_a_share_the_same_both_ways_and_one_for_the_same_text(a, b):
    assert 0.0 <= alike(a, b) <= 1.0
    assert alike(a, b) == alike(b, a)
    assert alike(a, a) == pytest.approx(1.0, abs=1e-6)
    assert alike(a, f"  {a}\n") == pytest.approx(1.0, abs=1e-6)


def test_texts_without_words_are_alike_only_if_they_are_the_same():
    assert alike("??", "??") == 1.0
    assert alike("??", "!!") == alike("??", "apples") == 0.0


def test_the_same_template_is_closer_than_the_same_topic_and_that_than_a_stranger():
    query = "A baker bakes 48 loaves of bread in the morning. How many loaves are left at night?"
    template = "A baker bakes 36 loaves of bread in the morning. How many loaves are left at noon?"
    topic = "Two bakers sold bread. How many loaves did the second baker sell?"
    stranger = "Tim has 40 marbles and loses a quarter of them. How many has he?"
    scores = [alike(query, text) for text in (template, topic, stranger)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.8 > 0.6 > scores[1] > 0.3 > scores[2]


def test_endings_hardly_matter_and_short_words_hardly_weigh():
    assert alike("counting marbles", "count the marble") > 0.5
    short = alike("is it in the bucket", "is it in the wardrobe")
    assert short < alike("we sold the bucket", "he has a bucket")


def test_what_the_lesson_says_plays_no_part():
    scorer = LexicalRelevance()
    query = Problem(text="red apples")
    one, two = (lesson(text, "ripe apples") for text in ("red apples", "green pears"))
    a, b = scorer.score([(query, one), (query, two)])
    assert a == b


# ---------------------------------------------------------------------- one interface


SCORERS = {
    "judge": lambda: judge_of()[0],
    "cosine": lambda: CosineRelevance(HashingEmbedder()),
    "lexical": LexicalRelevance,
}


@pytest.mark.parametrize("name", SCORERS)
def test_nothing_to_score_is_an_empty_row(name):
    scores = SCORERS[name]().score([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("name", SCORERS)
def test_there_is_one_score_a_pair_in_order_and_in_range(name):
    words = ["red", "green", "ripe", "apples", "pears", "figs", "box", "tree"]
    draw = random.Random(0)
    pairs = [
        (
            Problem(text=" ".join(draw.sample(words, 4))),
            lesson("x", " ".join(draw.sample(words, 4))),
        )
        for _ in range(40)
    ]
    scorer = SCORERS[name]()
    together = scorer.score(pairs)
    assert together.shape == (40,)
    assert together.dtype == np.float32
    assert ((together >= 0) & (together <= 1)).all()
    one_by_one = [float(scorer.score([pair])[0]) for pair in pairs]
    assert together.tolist() == pytest.approx(one_by_one, abs=1e-6)


@pytest.mark.parametrize("name", ["cosine", "lexical"])
def test_texts_no_one_expected_have_a_score(name):
    scorer = SCORERS[name]()
    odd = ["¿?", "½", "a" * 5000, "数学の問題", "‮ abc", "\\boxed{}", "3"]
    scores = scorer.score([(Problem(text=t), lesson("x", "apples")) for t in odd])
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def pool_of(n=40):
    pool = ExperiencePool()
    draw = random.Random(1)
    words = ["red", "green", "ripe", "apples", "pears", "figs", "basket", "orchard", "market"]
    texts = [f"{i} {' '.join(draw.sample(words, 5))} {i * 7}" for i in range(n)]
    pool.add([lesson(f"about {text}", text) for text in texts])
    return pool


def test_a_gamma_belongs_to_one_scorer():
    pool = pool_of()
    scorers = {name: make() for name, make in SCORERS.items()}
    scorers["judge"] = judge_of(lambda m: len(m[0]["content"]) % 100 / 100, store=pool.store)[0]
    defaults = {name: Guide(pool, relevance=s).gamma for name, s in scorers.items()}
    assert defaults == {"judge": 0.9, "cosine": 0.6, "lexical": 0.4}
    found = {}
    for name, scorer in scorers.items():
        found[name] = calibrate_gamma(Guide(pool, relevance=scorer), target=0.5).gamma
        for other in scorers.keys() - found.keys():
            assert Guide(pool, relevance=scorers[other]).gamma == defaults[other]
    found["search"] = calibrate_gamma(Guide(pool), target=0.5).gamma
    assert len(set(found.values())) == 4
    for name, scorer in scorers.items():
        assert Guide(pool, relevance=scorer).gamma == found[name]
    other = judge_of(wording="Is it of use?")[0]
    assert Guide(pool, relevance=other).gamma == 0.9


def test_the_judge_decides_what_a_guide_shows():
    pool = pool_of()
    judge, scorer = judge_of(
        lambda m: 0.95 if "about 7 " in m[0]["content"] else 0.85, store=pool.store
    )
    guide = Guide(pool, relevance=judge)
    query = Problem(text="red ripe apples of the orchard on the market in a basket 999")
    inter = guide.inter([query])[0]
    assert "about 7 " in inter.guidance.text
    assert len([c for c in inter.candidates if c.weight > 0]) == 1
    asked = len(scorer.asked)
    guide.inter([query])
    assert len(scorer.asked) == asked


def test_the_default_wording_asks_for_yes_or_no():
    judge = JudgeRelevance(scorer := ScriptedChoiceScorer(0.75))
    assert judge.score(pairs_of(1)).tolist() == [0.75]
    asked = scorer.asked[0][-1]["content"]
    assert "problem 0" in asked
    assert "lesson 0" in asked
    assert "yes" in asked.lower()
