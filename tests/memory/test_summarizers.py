import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanpo_memory.summarizers
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Summarizer
from lanpo_memory.summarizers import ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Completion, Experience, Failure, Guidance, Problem, Rollout

PROBLEM = Problem(text="How many eggs?")
GOOD = '### Experience\n{"flow_of_thought": ["look"], "principles": ["count"], "pitfalls": []}'


def rollout(completion="She sells the eggs at the market.", **fields):
    return Rollout(problem=PROBLEM, completion=completion, **fields)


def llm(**fields):
    return LLMSummarizer(prompts=EnglishPrompts(), **fields)


def extract(completion, **fields):
    correct = fields.pop("correct", True)
    (found,) = ExtractiveSummarizer(**fields).read([rollout(completion, correct=correct)], [])
    return found


def sentences(completion, **fields):
    found = extract(completion, **fields)
    assert isinstance(found, Experience), found
    return list(found.principles)


def test_the_package_lists_what_it_offers():
    names = lanpo_memory.summarizers.__all__
    assert names == sorted(names)
    one: Summarizer = llm()
    two: Summarizer = ExtractiveSummarizer()
    assert one.ask([]) == two.ask([]) == []
    assert one.read([], []) == two.read([], []) == []


def test_one_request_for_each_rollout_and_the_same_ones_each_time():
    rollouts = [rollout("first"), rollout("second")]
    requests = llm(max_tokens=7).ask(rollouts)
    assert [request.rollouts for request in requests] == [(0,), (1,)]
    assert {(request.role, request.max_tokens) for request in requests} == {("summarise", 7)}
    assert "second" in requests[1].conversation[0]["content"]
    assert llm(max_tokens=7).ask(rollouts) == requests


def test_the_default_length_is_the_papers():
    assert llm().ask([rollout()])[0].max_tokens == 2048


@given(
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.text(alphabet="abc", max_size=3),
)
@settings(deadline=None)
def test_what_is_asked_does_not_depend_on_reward_or_verdict(reward, correct, policy):
    judged = rollout(reward=reward, correct=correct, policy=policy)
    assert llm().ask([judged]) == llm().ask([rollout()])


def test_an_experience_knows_where_it_comes_from():
    guidance = Guidance(kind="inter", text="hint", experience_ids=("e1", "e2"))
    source = rollout(reward=0.5, correct=True, step=3, policy="p", guidance=guidance)
    for found in (
        llm().read([source], [Completion(text=GOOD)])[0],
        ExtractiveSummarizer().read([source], [])[0],
    ):
        assert isinstance(found, Experience)
        metadata = found.metadata
        assert (metadata.reward, metadata.correct, metadata.source) == (0.5, True, "rollout")
        assert (metadata.step, metadata.policy, metadata.parents) == (3, "p", ("e1", "e2"))
        assert metadata.created_at is None


def test_one_result_for_each_rollout_whatever_the_model_said():
    rollouts = [rollout("a b"), rollout(" \n"), rollout("c d"), rollout("e f"), rollout("g h")]
    summarizer = llm()
    requests = summarizer.ask(rollouts)
    assert [request.rollouts for request in requests] == [(0,), (2,), (3,), (4,)]
    model = ScriptedChatModel(
        [
            GOOD,
            "sorry",
            Failure(reason="busy"),
            Completion(text='{"principles": ["c', truncated=True),
        ]
    )
    answers = model.generate([request.conversation for request in requests], max_tokens=9)
    found = summarizer.read(rollouts, answers)
    assert isinstance(found[0], Experience)
    assert found[0].principles == ("count",)
    failures = [one for one in found if isinstance(one, Failure)]
    assert [one.rollouts for one in failures] == [(1,), (2,), (3,), (4,)]
    assert "completion is empty" in failures[0].reason
    assert "no JSON object" in failures[1].reason
    assert failures[1].text == "sorry"
    assert failures[2].reason == "busy"
    assert "token limit" in failures[3].reason


def test_too_few_or_too_many_answers_are_a_mistake_of_the_caller():
    with pytest.raises(InvalidInputError, match="0 answers for 1 requests"):
        llm().read([rollout()], [])
    with pytest.raises(InvalidInputError, match="nothing was asked"):
        ExtractiveSummarizer().read([rollout()], [Completion(text="x")])


def test_settings_without_sense_are_refused():
    with pytest.raises(ConfigError):
        llm(max_tokens=0)
    with pytest.raises(ConfigError):
        ExtractiveSummarizer(max_sentences=0)
    with pytest.raises(ConfigError):
        ExtractiveSummarizer(max_chars=0)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"correct": True, "reward": 0.0}, "principles"),
        ({"correct": False, "reward": 1.0}, "pitfalls"),
        ({"reward": 0.5}, "principles"),
        ({"reward": 0.0}, "pitfalls"),
        ({"reward": -1.0}, "pitfalls"),
        ({}, "thoughts"),
    ],
)
def test_the_verdict_decides_which_part_the_sentences_become(fields, part):
    (found,) = ExtractiveSummarizer().read([rollout(**fields)], [])
    assert isinstance(found, Experience)
    filled = [name for name in ("thoughts", "principles", "pitfalls") if getattr(found, name)]
    assert filled == [part]


@pytest.mark.parametrize(
    ("completion", "kept"),
    [
        ("She eats three and bakes 4 so 3 + 4 = <<3+4=7>>7 eggs are gone\nA: 7",
         ["She eats [n] and bakes [n] so [n] + [n] = [n] eggs are gone"]),
        ("It costs $1,234.50 or 1/2 of -3 in total.", ["It costs $[n] or [n] of [n] in total."]),
        ("Take twenty-one or one hundred and five birds.", ["Take [n] or [n] birds."]),
        ("Here ½ and ² and 三 and Ⅳ are numbers.",
         ["Here [n] and [n] and [n] and [n] are numbers."]),
        ("We count the rest.\nFinal answer: 12\n#### 12", ["We count the rest."]),
        (r"We count the rest. The answer is \boxed{12}.", ["We count the rest."]),
        ("**Answer:** twelve\nWe count them all.", ["We count them all."]),
        ("It must be a Tuesday then.\nA: Tuesday", ["It must be a [n] then."]),
        (r"We see x+y here, not xx+y. So \boxed{x+y}.", ["We see [n] here, not xx+y."]),
        ("We reach 13 and 13.0 and 4.\nA: 13", ["We reach [n] and [n] and [n]."]),
        ("Someone weighs the fish.", ["Someone weighs the fish."]),
        ("We count them all.\nWe count them all.", ["We count them all."]),
    ],
)  # fmt: skip
def test_sentences_are_copied_with_numbers_masked_and_answers_dropped(completion, kept):
    assert sentences(completion) == kept


@pytest.mark.parametrize(
    "completion", ["", " \n ", "25", "A: 7", r"\boxed{7}", "3 + 4 = 7\n#### 7"]
)
def test_a_completion_without_a_sentence_is_a_failure(completion):
    found = extract(completion)
    assert isinstance(found, Failure)
    assert found.reason
    assert found.rollouts == (0,)


def test_count_and_length_are_bounded():
    text = "\n".join(f"Sentence {'abcdefgh'[i]} goes on " + "and on " * 90 for i in range(8))
    kept = sentences(text, max_sentences=3, max_chars=50)
    assert len(kept) == 3
    assert all(len(one) <= 50 and one.endswith(("on", "and")) for one in kept)


WORDS = st.sampled_from(
    ["the hens", "<<", ">>", "A:", "so", ".", "\n", "=", "$", "half", "answer is"]
)


@given(
    st.integers(0, 10**6) | st.floats(0, 1e6, allow_nan=False),
    st.lists(WORDS | st.integers().map(str) | st.text(max_size=4), max_size=20),
    st.sampled_from(
        ["A: {}", "#### {}", r"\boxed{{{}}}", "The answer is {}.", "so {} eggs remain"]
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_number_is_ever_carried(answer, words, form):
    text = " ".join(words).replace("\0", "").encode("utf-8", "ignore").decode()
    completion = f"We walk to the market. {text}\nIt makes {answer} in all\n{form.format(answer)}"
    found = extract(completion, correct=None)
    if isinstance(found, Experience):
        assert not any(char.isnumeric() for char in found.thoughts)
        assert not re.search(r"\b(three|dozen|half)\b", found.thoughts, re.IGNORECASE)
