from __future__ import annotations

import pytest

from lanpo_memory import Experience, ExperienceMetadata, Problem, Retrieved
from lanpo_memory.errors import ConfigError
from lanpo_memory.filters import NotFromProblems, NotSameProblem, OutcomeIs, SimilarityAtLeast
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
