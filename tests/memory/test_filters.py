from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from lanpo_memory import Experience, ExperienceMetadata, Problem, Retrieved
from lanpo_memory.errors import ConfigError
from lanpo_memory.filters import (
    REWORDED,
    SAME_PROBLEM,
    TEMPLATE,
    NotFromProblems,
    NotSameProblem,
    OutcomeIs,
    SimilarityAtLeast,
    is_template_of,
)
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.texts import is_reworded


def hit(text: str = "p", *, similarity: float = 1.0, correct: bool | None = None) -> Retrieved:
    meta = ExperienceMetadata(correct=correct)
    experience = Experience(problem=Problem(text=text), thoughts="t", metadata=meta)
    return Retrieved(experience=experience, score=1.0, similarity=similarity)


QUERY = Problem(text="Ann has 3 red apples and buys 4 more. How many apples has Ann?")


def test_similarity_at_least_gamma():
    below, at = SimilarityAtLeast(0.5).verdicts(QUERY, [hit(similarity=0.49), hit(similarity=0.5)])
    assert below == "similarity 0.490 is below gamma 0.500"
    assert at is None


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_lies_in_0_1(gamma: float):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        SimilarityAtLeast(gamma)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (QUERY.text, True),
        (QUERY.text.upper(), True),
        ("Ann  has 3 red apples, and buys 4 more: how many apples has Ann", True),
        ("Ann has 3 red apples and buys 4 more. How many apples has Ann now?", True),
        ("Ann has 5 red apples and buys 9 more. How many apples has Ann?", False),
        ("How many apples has Ann, who has 3 red apples and buys 4 more?", True),
        ("A train of 3 cars takes 4 hours. How long is it?", False),
        ("Bob eats 4 pears, then 3.", False),
    ],
)
def test_the_same_problem_reworded_is_recognised_and_other_numbers_are_not(text: str, same: bool):
    assert is_reworded(QUERY.text, text) is same
    assert is_reworded(text, QUERY.text) is same
    verdict = NotSameProblem().verdicts(QUERY, [hit(text)])[0]
    assert (verdict is not None) is same


def test_the_same_id_is_the_same_problem_whatever_its_text():
    verdict = NotSameProblem().verdicts(
        Problem(text="one", id="x"),
        [
            Retrieved(
                experience=Experience(problem=Problem(text="two", id="x"), thoughts="t"),
                score=1,
                similarity=1,
            )
        ],
    )
    assert verdict == ["the same problem"]


OTHER_NUMBERS = QUERY.text.replace("3", "8").replace("4", "9")


def test_a_template_with_other_numbers_stays_unless_it_is_to_go():
    hits = [hit(OTHER_NUMBERS), hit(QUERY.text), hit(QUERY.text.upper()), hit("8 pears, 9 plums.")]
    same = [SAME_PROBLEM, REWORDED, None]
    assert NotSameProblem().verdicts(QUERY, hits) == [None, *same]
    assert NotSameProblem(drop_templates=True).verdicts(QUERY, hits) == [TEMPLATE, *same]


def test_what_is_counted_as_a_template():
    assert is_template_of(QUERY, Problem(text=OTHER_NUMBERS))
    assert not is_template_of(QUERY, Problem(text=QUERY.text.upper()))
    assert not is_template_of(QUERY, Problem(text=OTHER_NUMBERS, id=QUERY.id)), "the same problem"
    assert not is_template_of(QUERY, Problem(text="8 of Ann's red apples."))
    assert is_template_of(QUERY, Problem(text="8 of Ann's red apples."), threshold=0.2)


class Angles:
    """Embeds a text as a direction in the plane; keeps what it was asked for."""

    def __init__(self, **degrees: float) -> None:
        self.fingerprint = "angles"
        self.degrees = degrees
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        radians = [math.radians(self.degrees.get(text.split()[0], 0.0)) for text in texts]
        return np.array([[math.cos(r), math.sin(r)] for r in radians], dtype=np.float32)


PARAPHRASE = "Near: to her 3 apples, all red, Ann adds 4 she found at the market; count them."
PROSE = "Is the sum of two odd numbers odd, and what of three?"


def test_a_paraphrase_is_found_by_meaning_where_the_numbers_agree():
    far = "Far: 4 trains with 3 cars each leave Rome at noon; which of them is the last to stop?"
    twin = "Twin: to her 3 apples, all red, Ann adds 5 she found at the market; count them."
    embedder = Angles(**{"Near:": 25.0, "Far:": 60.0})
    texts = [PARAPHRASE, far, twin, PARAPHRASE, QUERY.text]
    found = NotSameProblem(embedder=embedder).verdicts(QUERY, [hit(text) for text in texts])
    assert found == [REWORDED, None, None, REWORDED, SAME_PROBLEM]
    assert embedder.calls == [[QUERY.text, PARAPHRASE, far]], "one batch, nothing settled in it"
    assert NotSameProblem().verdicts(QUERY, [hit(PARAPHRASE)]) == [None], "wording is not enough"


@pytest.mark.parametrize("text", ["9 pears.", QUERY.text.upper(), OTHER_NUMBERS])
def test_the_embedder_is_left_alone_where_nothing_is_open(text: str):
    embedder = Angles()
    found = NotSameProblem(embedder=embedder, drop_templates=True)
    assert found.verdicts(QUERY, []) == []
    found.verdicts(QUERY, [hit(text)])
    assert embedder.calls == []


def test_problems_without_numbers_are_not_compared_by_meaning():
    embedder = Angles()
    query = Problem(text="Does an odd number divide an even one?")
    assert NotSameProblem(embedder=embedder).verdicts(query, [hit(PROSE)]) == [None]
    assert embedder.calls == []


def test_cosine_is_a_lower_bound_of_what_goes():
    def found(cosine: float) -> str | None:
        embedder = Angles(**{"Near:": 60.0})  # cosine ½
        return NotSameProblem(embedder=embedder, cosine=cosine).verdicts(QUERY, [hit(PARAPHRASE)])[
            0
        ]

    assert found(0.49) == REWORDED
    assert found(0.51) is None


def test_any_embedder_fits():
    found = NotSameProblem(embedder=HashingEmbedder(), cosine=0.1)
    assert found.verdicts(QUERY, [hit(PARAPHRASE)]) == [REWORDED]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["threshold", "cosine"])
def test_thresholds_lie_in_0_1(name: str, value: float):
    with pytest.raises(ConfigError, match=f"{name} must lie between 0 and 1"):
        NotSameProblem(**{name: value})


def test_threshold_reaches_the_wording():
    text = "Ann has 3 red apples and buys 4 more at a stall that she knows. How many are there?"
    assert NotSameProblem(threshold=0.9).verdicts(QUERY, [hit(text)]) == [None]
    assert NotSameProblem(threshold=0.5).verdicts(QUERY, [hit(text)]) == [REWORDED]
    other = text.replace("4", "5")
    strict = NotSameProblem(threshold=0.9, drop_templates=True)
    assert strict.verdicts(QUERY, [hit(other)]) == [None]
    loose = NotSameProblem(threshold=0.5, drop_templates=True)
    assert loose.verdicts(QUERY, [hit(other)]) == [TEMPLATE]


def test_outcome():
    hits = [hit(correct=True), hit(correct=False), hit(correct=None)]

    def kept(outcome: str) -> list[bool]:
        return [v is None for v in OutcomeIs(outcome).verdicts(QUERY, hits)]

    assert kept("correct") == [True, False, False]
    assert kept("wrong") == [False, True, False]
    assert kept("any") == [True, True, True]
    with pytest.raises(ConfigError, match="outcome"):
        OutcomeIs("good")


def test_excluded_problems():
    bad = hit("evaluation problem")
    excluded = NotFromProblems([bad.experience.problem.id])
    assert [v is None for v in excluded.verdicts(QUERY, [bad, hit("other")])] == [False, True]
