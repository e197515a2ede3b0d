from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanpo_memory import (
    Attempt,
    Experience,
    ExperienceMetadata,
    Guidance,
    Problem,
    Rollout,
)
from lanpo_memory.errors import InvalidInputError, LabelLeakError
from lanpo_memory.types import LABEL_KEYS, MAX_TEXT_CHARS


def test_a_problem_is_known_by_its_text_whatever_the_white_space():
    assert Problem(text="2 + 3 = ?").id == Problem(text=" 2 +\n3  = ?").id
    assert Problem(text="Let X be").id != Problem(text="let x be").id
    assert Problem(text="a", id="mine").id == "mine"


@pytest.mark.parametrize("key", [*sorted(LABEL_KEYS), "Answer", " GOLD "])
def test_a_problem_cannot_carry_its_answer_in_metadata(key: str):
    with pytest.raises(LabelLeakError, match="reference answer"):
        Problem(text="2 + 3?", metadata={key: "5"})


@pytest.mark.parametrize("field", ["answer", "solution", "reward"])
def test_a_problem_has_no_field_for_an_answer(field: str):
    with pytest.raises(InvalidInputError, match=field):
        Problem(text="2 + 3?", **{field: "5"})


def test_an_attempt_has_no_field_for_a_reward_or_verdict():
    for field in ("reward", "correct", "verdict", "answer"):
        with pytest.raises(InvalidInputError, match=field):
            Attempt(problem=Problem(text="p"), text="t", **{field: 1})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        ("x" * (MAX_TEXT_CHARS + 1), "characters"),
    ],
)
def test_unusable_texts_are_refused_with_the_reason(text: str, fault: str):
    with pytest.raises(InvalidInputError, match=fault):
        Problem(text=text)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -float("inf"), "much"])
def test_a_reward_is_a_finite_number(reward: object):
    with pytest.raises(InvalidInputError, match="reward"):
        Rollout(problem=Problem(text="p"), completion="c", reward=reward)


def test_metadata_holds_scalars_only():
    with pytest.raises(InvalidInputError, match="metadata"):
        Problem(text="p", metadata={"a": [1]})


def test_an_experience_says_something():
    with pytest.raises(InvalidInputError, match="thoughts, principles or pitfalls"):
        Experience(problem=Problem(text="p"))


def test_ids_ignore_where_an_experience_comes_from_and_lessons_ignore_the_problem():
    one, other = Problem(text="one"), Problem(text="other")
    a = Experience(problem=one, principles=("p",), metadata=ExperienceMetadata(step=1))
    b = Experience(problem=one, principles=("p",), metadata=ExperienceMetadata(step=2))
    c = Experience(problem=other, principles=("p",))
    d = Experience(problem=one, pitfalls=("p",))
    assert a.id == b.id != c.id
    assert a.lesson_id == c.lesson_id != d.lesson_id


@given(
    text=st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t),
    principles=st.lists(
        st.sampled_from(["α ≥ β", r"\frac{1}{2}", "{} % $x", "a\u2028b"]), min_size=1
    ),
)
def test_an_experience_survives_json(text: str, principles: list[str]):
    try:
        problem = Problem(text=text)
    except InvalidInputError:
        return  # a lone surrogate
    before = Experience(problem=problem, principles=tuple(principles))
    after = Experience(**json.loads(before.model_dump_json()))
    assert after == before
    assert after.id == before.id


class TestGuidance:
    guidance = Guidance(kind="inter", text="Hint. ", experience_ids=("a",))

    def test_stands_in_front_of_the_last_user_message(self):
        messages = [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "q2"},
        ]
        before = json.dumps(messages)
        guided = self.guidance.apply(messages)
        assert guided[3]["content"] == "Hint. q2"
        assert guided[:3] == messages[:3]
        assert json.dumps(messages) == before, "the argument was changed"

    def test_keeps_the_kind_of_prompt(self):
        assert self.guidance.apply("q") == "Hint. q"
        blocks = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
        assert self.guidance.apply(blocks)[0]["content"][0] == {"type": "text", "text": "Hint. "}

    def test_none_changes_nothing(self):
        messages = [{"role": "user", "content": "q"}]
        assert Guidance().apply(messages) is messages
        assert not Guidance()
        assert self.guidance

    def test_needs_a_user_message(self):
        with pytest.raises(InvalidInputError, match="no user message"):
            self.guidance.apply([{"role": "system", "content": "s"}])
