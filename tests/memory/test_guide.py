from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory import (
    Attempt,
    Batch,
    EnglishPrompts,
    Experience,
    ExperienceMetadata,
    ExperiencePool,
    Exposure,
    Failure,
    Guide,
    PoolAdapter,
    Problem,
    Retrieved,
)
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.filters import NotFromProblems, OutcomeIs
from lanpo_memory.reflectors import TwoStageReflector
from lanpo_memory.relevance import CosineRelevance
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel


def pool_of(*pairs: tuple[str, str]) -> ExperiencePool:
    pool = ExperiencePool()
    pool.add([Experience(problem=Problem(text=p), principles=(t,)) for p, t in pairs])
    return pool


FRUIT = pool_of(
    ("red apples in a box 1", "one"),
    ("red apples in a box 2", "two"),
    ("red apples in a box 3", "three"),
    ("green pears on a tree 4", "far"),
)
QUERY = Problem(text="red apples in a box 9")


def test_guidance_comes_from_other_problems_that_are_relevant_and_says_so():
    found = Guide(FRUIT, gamma=0.3, experiences=2).inter([QUERY])[0]
    assert found.guidance.kind == "inter"
    assert len(found.guidance.experience_ids) == len(found.guidance.lesson_ids) == 2
    assert {c.retrieved.experience.principles[0] for c in found.used} < {"one", "two", "three"}
    assert all(c.retrieved.experience.principles[0] in found.guidance.text for c in found.used)
    explained = Guide(FRUIT, gamma=0.3, experiences=2).explain(QUERY)
    assert explained.guidance == found.guidance
    far = [c for c in explained.candidates if c.retrieved.experience.principles[0] == "far"]
    assert "below gamma" in str(far[0].dropped)
    assert far[0].dropped_by == "SimilarityAtLeast"


def test_the_problem_itself_never_guides_itself_reworded_or_not():
    for text in ("red apples in a box 1", "Red apples, in a box: 1"):
        guide = Guide(FRUIT, gamma=0.0, experiences=9, shortlist=9)
        found = guide.inter([Problem(text=text)])[0]
        explained = guide.explain(Problem(text=text)).candidates
        own = [c for c in explained if c.retrieved.experience.principles[0] == "one"]
        assert "the same problem" in str(own[0].dropped)
        assert "one" not in {c.retrieved.experience.principles[0] for c in found.used}


def test_nothing_relevant_gives_no_guidance():
    for guide, query in ((Guide(FRUIT), Problem(text="zzz")), (Guide(ExperiencePool()), QUERY)):
        found = guide.inter([query])[0]
        assert not found.guidance
        assert not found.hit
    assert Guide(FRUIT).inter([]) == []


def test_a_shortlist_holds_each_lesson_once():
    pool = pool_of(*((f"red apples in a box {i}", "same lesson") for i in range(5)))
    found = Guide(pool, gamma=0.1, experiences=3).inter([QUERY])[0]
    assert len(found.used) == 1
    assert Counter(c.dropped for c in found.candidates)["the same lesson ranks higher"] == 4


def test_family_metadata_and_ids_never_reach_a_prompt():
    secret = Problem(text="red apples in a box 5", family="FAM", id="IDENT", metadata={"m": "META"})
    pool = ExperiencePool()
    pool.add([Experience(problem=secret, principles=("lesson",))])
    found = Guide(pool, gamma=0.1).inter([QUERY])[0]
    assert "lesson" in found.guidance.text
    for word in ("FAM", "IDENT", "META"):
        assert word not in found.guidance.text


def test_utility_decides_among_the_relevant():
    pool = pool_of(("red apples in a box 1", "bad"), ("red apples in a box 2", "good"))
    bad, good = pool.store.read("experience")
    pool.write(
        Batch(
            exposures=tuple(
                Exposure(problem_id=f"q{i}", lesson_ids=(e.lesson_id,), guided=(reward,))
                for i in range(3)
                for e, reward in ((bad, 0.0), (good, 1.0))
            )
        )
    )
    found = Guide(pool, gamma=0.1, weight="utility").inter([QUERY])[0]
    assert found.used[0].retrieved.experience == good
    product = Guide(pool, gamma=0.1, weight="product").inter([QUERY])[0]
    assert product.used[0].retrieved.experience == good


def test_by_recency_the_newest_of_the_relevant_comes_first():
    pool = ExperiencePool()
    for step, text in ((7, "red apples in a box 2"), (3, "red apples in a box 1")):
        metadata = ExperienceMetadata(step=step)
        pool.add([Experience(problem=Problem(text=text), principles=(text,), metadata=metadata)])
    pool.add([Experience(problem=Problem(text="unheard of"), principles=("no",))])
    shown = Guide(pool, gamma=0.1, weight="recency", experiences=3).inter([QUERY])[0].used
    assert [c.retrieved.experience.metadata.step for c in shown] == [7, 3]


def test_sampling_weights_are_one_over_rank_and_seeds_decide():
    guide = Guide(FRUIT, gamma=0.1, shortlist=3)
    order = [c.retrieved.experience.id for c in guide.inter([QUERY])[0].candidates][:3]
    drawn = [
        guide.inter([QUERY], seeds=[str(i)])[0].guidance.experience_ids[0] for i in range(1100)
    ]
    assert drawn == [
        guide.inter([QUERY], seeds=[str(i)])[0].guidance.experience_ids[0] for i in range(1100)
    ]
    counts = Counter(drawn)
    # weights 1, 1/2, 1/3 sum to 11/6: 600, 300 and 200 of 1,100
    for expected, i in zip((600, 300, 200), order, strict=True):
        assert counts[i] == pytest.approx(expected, abs=75)


def test_drawing_is_without_replacement():
    guide = Guide(FRUIT, gamma=0.1, experiences=3, shortlist=3)
    for i in range(20):
        ids = guide.inter([QUERY], seeds=[str(i)])[0].guidance.experience_ids
        assert len(set(ids)) == 3


def test_the_token_budget_leaves_out_whole_experiences():
    pool = pool_of(("red apples in a box 1", "short"), ("red apples in a box 2", "very long " * 50))
    everything = Guide(pool, gamma=0.1, experiences=2, count_tokens=len)
    full = everything.inter([QUERY])[0]
    assert len(full.used) == 2
    tight = Guide(
        pool, gamma=0.1, experiences=2, count_tokens=len, max_tokens=len(full.guidance.text) - 1
    ).inter([QUERY])[0]
    assert len(tight.used) == 1
    assert tight.dropped_for_budget == 1
    assert tight.guidance.text in full.guidance.text or len(tight.guidance.text) < len(
        full.guidance.text
    )
    none = Guide(pool, gamma=0.1, max_tokens=3, count_tokens=len).inter([QUERY])[0]
    assert not none.guidance
    assert none.hit


def test_another_scorer_replaces_the_retrievers_similarity():
    guide = Guide(FRUIT, relevance=CosineRelevance(HashingEmbedder(dim=512)), gamma=0.5)
    found = guide.inter([QUERY])[0]
    assert found.guidance
    similarities = [c.retrieved.similarity for c in found.candidates]
    assert similarities == sorted(similarities, reverse=True)
    assert guide.gamma == 0.5
    assert Guide(FRUIT, relevance=CosineRelevance(HashingEmbedder())).gamma == 0.6


def test_an_attempt_becomes_guidance_or_nothing_but_is_never_cut():
    attempt = Attempt(problem=QUERY, text="9 apples", step=1)
    found = Guide(FRUIT).intra([attempt])[0]
    assert found.kind == "intra"
    assert found.attempt == attempt
    assert "9 apples" in found.text
    assert not Guide(FRUIT, max_tokens=5).intra([attempt])[0]
    assert Guide(FRUIT).intra([]) == []


@pytest.mark.parametrize(
    "settings",
    [{"weight": "luck"}, {"experiences": 0}, {"shortlist": 0}, {"gamma": 2.0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]):
    with pytest.raises(ConfigError):
        Guide(FRUIT, **settings)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_not_read_would_have_changed_nothing(data: Any):
    """`inter` reads as little as it can, `explain` reads everything: the guidance is the same."""
    words = st.sampled_from(["red", "green", "apples", "pears", "box", "tree", "1", "2"])
    texts = st.lists(words, min_size=2, max_size=6).map(" ".join)
    pool = pool_of(*data.draw(st.lists(st.tuples(texts, st.sampled_from("abcd")), max_size=30)))
    guide = Guide(
        pool,
        gamma=data.draw(st.sampled_from([0.0, 0.2, 0.6])),
        weight=data.draw(st.sampled_from(["relevance", "utility", "product", "recency"])),
        experiences=data.draw(st.integers(1, 3)),
        shortlist=data.draw(st.integers(1, 4)),
        drop_templates=data.draw(st.booleans()),
        filters=data.draw(st.sampled_from([(), (OutcomeIs("any"),), (NotFromProblems(["x"]),)])),
    )
    query, seed = Problem(text=data.draw(texts)), data.draw(st.sampled_from([None, "a", "b"]))
    seeds = None if seed is None else [seed, seed]
    found = guide.inter([query, query], seeds=seeds)
    full = guide.explain(query, seed=seed)
    assert [f.guidance for f in found] == [full.guidance] * 2
    assert found[0].hit == full.hit


# ---------------------------------------------------------------------- abstraction


class Rewriting:
    """Makes one principle out of what it is given, or fails."""

    def __init__(self, made: str | None) -> None:
        self.made = made
        self.asked: list[tuple[Problem, list[str]]] = []

    def abstract(
        self, items: Sequence[tuple[Problem, Sequence[Retrieved]]]
    ) -> list[Experience | Failure]:
        self.asked += [(p, [r.experience.principles[0] for r in shown]) for p, shown in items]
        if self.made is None:
            return [Failure(reason="unreadable")] * len(items)
        return [Experience(problem=p, principles=(self.made,)) for p, _ in items]


def test_what_was_chosen_is_shown_as_it_was_rewritten_for_the_problem():
    rewriting = Rewriting("for this very problem")
    guide = Guide(FRUIT, gamma=0.3, experiences=2, abstractor=rewriting)
    plain = Guide(FRUIT, gamma=0.3, experiences=2).inter([QUERY])[0]
    stranger = Problem(text="zzz")
    found, nothing = guide.inter([QUERY, stranger])
    shown = [c.retrieved.experience.principles[0] for c in plain.used]
    assert rewriting.asked == [(QUERY, shown)]  # nobody is asked where nothing is shown
    assert "for this very problem" in found.guidance.text
    assert not any(f"- {text}" in found.guidance.text for text in shown)
    assert found.guidance.experience_ids == plain.guidance.experience_ids  # who gets the credit
    assert found.guidance.lesson_ids == plain.guidance.lesson_ids
    assert found.abstracted is not None
    assert not nothing.guidance
    guide.explain(QUERY)
    assert len(rewriting.asked) == 1  # looking costs nothing


@pytest.mark.parametrize("made", [None, "far too long " * 500])
def test_notes_stay_as_they_were_where_rewriting_fails_or_is_over_the_budget(made: str | None):
    guide = Guide(FRUIT, gamma=0.3, abstractor=Rewriting(made), max_tokens=900)
    found = guide.inter([QUERY])[0]
    assert found.guidance == Guide(FRUIT, gamma=0.3).inter([QUERY])[0].guidance
    assert found.abstracted is None


def test_the_adapter_counts_what_was_rewritten():
    guide = Guide(FRUIT, gamma=0.3, abstractor=Rewriting("better"))
    memory = PoolAdapter(FRUIT, guide=guide, feedback_ratio=1.0)
    memory.prepare([QUERY, Problem(text="zzz")], step=0)
    assert memory.ingest([], [], step=0).retrieval.abstracted == 1


def test_explaining_asks_no_more_of_a_relevance_than_guiding_does():
    class Noting(CosineRelevance):
        asked: list[str]

        def score(self, pairs: Any) -> Any:
            self.asked += [e.id for _, e in pairs]
            return super().score(pairs)

    own = Problem(text="red apples in a box 1")  # its own experience is ruled out beforehand
    relevance = Noting(HashingEmbedder())
    guide = Guide(FRUIT, relevance=relevance, gamma=0.0, filters=[NotFromProblems([QUERY.id])])
    relevance.asked = []
    guided = guide.inter([own])[0]
    for_guiding, relevance.asked = relevance.asked, []
    explained = guide.explain(own)
    assert sorted(relevance.asked) == sorted(for_guiding)
    assert explained.guidance == guided.guidance
    dropped = {c.retrieved.experience.problem.text: c.dropped_by for c in explained.candidates}
    assert dropped[own.text] == "NotSameProblem"
    assert {c.retrieved.experience.id for c in explained.used} <= set(for_guiding)


def test_a_critique_that_does_not_fit_beside_its_attempt_is_left_out():
    attempt = Attempt(problem=QUERY, text="I counted nine.")
    alone = Guide(FRUIT).intra([attempt])[0]
    critic = ScriptedChatModel("word " * 2000)
    reflector = TwoStageReflector(critic, prompts=EnglishPrompts())
    for room, kind in ((800, "intra"), (10, "none")):
        guidance = Guide(FRUIT, reflector=reflector, max_tokens=room).intra([attempt])[0]
        assert guidance.kind == kind
        assert guidance.text == (alone.text if kind == "intra" else "")
        assert guidance.critique == ""


def test_a_relevance_is_asked_about_all_problems_at_once():
    class Counting(CosineRelevance):
        calls = 0

        def score(self, pairs: Any) -> Any:
            type(self).calls += 1
            return super().score(pairs)

    relevance = Counting(HashingEmbedder())
    problems = [Problem(text=f"red apples in a box {i}") for i in range(20, 30)]
    guide = Guide(FRUIT, relevance=relevance, gamma=0.0)
    together = guide.inter(problems)
    guide.best_similarities(problems)
    assert Counting.calls == 2
    assert together == [guide.inter([problem])[0] for problem in problems]


@pytest.mark.parametrize("scores", [[2.0], [float("nan")], [-0.1], [0.5, 0.5], []])
def test_a_relevance_that_breaks_its_promise_is_named(scores: list[float]):
    class Odd:
        fingerprint, default_gamma = "odd", 0.5

        def score(self, pairs: Any) -> Any:
            return np.array((scores or [0.5] * (len(pairs) - 1)) if len(pairs) != 1 else scores)

    one = pool_of(("red apples in a box 1", "one"))
    with pytest.raises(InvalidInputError, match=r"Odd\.score has to return one number"):
        Guide(one, relevance=Odd(), gamma=0.0).inter([QUERY])


def test_a_path_is_no_pool():
    with pytest.raises(InvalidInputError, match=r"open_pool\(path\)"):
        Guide("pool.db")
