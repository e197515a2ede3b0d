import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanpo_memory.summarizers
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import AgentPrompts, EnglishPrompts
from lanpo_memory.protocols import Summarizer
from lanpo_memory.summarizers import (
    ContrastiveSummarizer,
    CopyCheck,
    ExtractiveSummarizer,
    LLMSummarizer,
    provenance,
)
from lanpo_memory.summarizers.copy_check import copied_share, number_share
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Completion, Experience, Failure, Guidance, Problem, Rollout

PROBLEM = Problem(text="How many eggs?")
GOOD = '### Experience\n{"flow_of_thought": ["look"], "principles": ["count"], "pitfalls": []}'


def rollout(completion="She sells the eggs at the market.", **fields):
    return Rollout(problem=PROBLEM, completion=completion, **fields)


def llm(**fields):
    return LLMSummarizer(prompts=EnglishPrompts(), **fields)


def contrastive(**fields):
    return ContrastiveSummarizer(prompts=EnglishPrompts(), **fields)


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
    three: Summarizer = contrastive()
    assert one.ask([]) == two.ask([]) == three.ask([]) == []
    assert one.read([], []) == two.read([], []) == three.read([], []) == []


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
    with pytest.raises(InvalidInputError, match="0 answers for 1 requests"):
        contrastive().read(group(True, False), [])
    with pytest.raises(InvalidInputError, match="nothing was asked"):
        ExtractiveSummarizer().read([rollout()], [Completion(text="x")])


def test_settings_without_sense_are_refused():
    with pytest.raises(ConfigError):
        llm(max_tokens=0)
    for name in ("max_tokens", "right", "wrong", "max_chars"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            contrastive(**{name: 0})
    for name in ("max_copied", "max_numbers"):
        for value in (-0.1, 1.1, float("nan")):
            with pytest.raises(ConfigError, match=name):
                CopyCheck(**{name: value})
    for refused in (llm, contrastive):
        with pytest.raises(ConfigError, match="check must be a function"):
            refused(check="strict")
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


# --- copies ---------------------------------------------------------------------------------------

EGGS = Problem(text="A hen farm has 48 eggs. It sells 15 today, 8 tomorrow. How many are left?")
WAY = (
    "The farm starts with 48 eggs and sells 15 of them today, so 48 - 15 = <<48-15=33>>33 are left."
    "\nTomorrow it sells 8 more, which leaves 33 - 8 = <<33-8=25>>25 eggs.\nA: 25"
)
GENERAL = (
    "I notice that a stock shrinks in several steps, so I keep a running rest.",
    "Subtract each sale from what was left before it.",
    "Do not subtract a later amount from the initial stock alone.",
    "100% of a thing is all of it; one half is 0.5.",
)


def judged(*lessons, check=None, way=WAY):
    one = Experience(problem=EGGS, principles=lessons)
    return (check or CopyCheck())(EGGS, [way], one)


@pytest.mark.parametrize(
    "lessons",
    [
        (WAY,),
        tuple(WAY.splitlines()[:2]),
        (re.sub(r"<<.*?>>", "", WAY).upper(),),
        (re.sub(r"\d+", "[n]", WAY),),
        (re.sub(r"\d+", "7", WAY),),
        (re.sub(r"<<.*?>>|\d+", "", WAY),),
        ("The farm starts with 48 of its eggs and sells 15 of them today, thus 33 are left.",
         "Tomorrow it sells 8 more eggs, which leaves 25 eggs."),
        (EGGS.text,),
    ],
)  # fmt: skip
def test_a_copy_is_refused_with_or_without_its_numbers(lessons):
    assert re.match(r"copied share (0\.[5-9]|1\.0)\d > 0\.40: ", judged(*lessons))


def test_a_retelling_with_the_problems_numbers_is_refused():
    reason = judged("From 48 pieces I take off 15, afterwards 8 others, to arrive at 25.")
    assert reason == "number share 1.00 > 0.50: the summary repeats the problem's numbers"


@pytest.mark.parametrize("lesson", GENERAL)
def test_a_general_lesson_passes(lesson):
    assert judged(lesson) is None
    assert judged(*GENERAL) is None


def test_one_number_in_common_says_nothing_nor_do_those_of_a_list():
    assert number_share("I take 15 off.", EGGS.text) == 0.0
    assert number_share("15. go on\n8) halt\n48. rest", EGGS.text) == 0.0
    assert number_share("15 and 8", EGGS.text) == pytest.approx(2 / 3)
    assert number_share("48.0 and 1,000", "48 or 1000?") == 1.0
    assert number_share("nothing", "no numbers") == 0.0


def test_shares_are_those_of_words_in_runs_of_four():
    assert copied_share("one two three four", ["Zero, one two; three four five."]) == 1.0
    assert copied_share("one two three five", ["one two three four"]) == 0.0
    assert copied_share("one two three four and so on now", ["one two three four"]) == 0.5
    assert copied_share("one two", ["one two"]) == copied_share("", [""]) == 0.0
    assert copied_share("one two three four", []) == 0.0


def test_numbers_count_as_one_word_or_not_at_all_whichever_shows_more():
    assert copied_share("take 3, add 4, get 7", ["take 1, add 2, get 3"]) == 1.0
    assert copied_share("take of the lot and go", ["take 3 of the lot and go"]) == 1.0


def test_the_thresholds_are_settings_and_1_turns_a_part_off():
    off = CopyCheck(max_copied=1.0, max_numbers=1.0)
    assert judged(WAY, check=off) is None
    assert judged(WAY, check=CopyCheck(max_copied=1.0)).startswith("number share")
    assert judged(GENERAL[0], check=CopyCheck(max_copied=0.0)) is None


def test_a_ratio_is_never_shown_as_equal_to_its_limit():
    words = " ".join(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(501))
    copied = " ".join(words.split()[:201]) + " q" * 300
    reason = judged(copied, way=words)
    assert reason.startswith("copied share 0.41 > 0.40")


def summarised(text, completion=WAY, **fields):
    (found,) = llm(**fields).read(
        [Rollout(problem=EGGS, completion=completion)], [Completion(text=text)]
    )
    return found


COPY = json.dumps({"principles": [WAY]})


def test_a_copying_summary_is_rejected_with_the_ratio_and_the_answer():
    found = summarised(COPY)
    assert isinstance(found, Failure)
    assert found.status == "rejected"
    assert found.reason.startswith("copied share 1.00 > 0.40")
    assert found.text == COPY
    assert found.rollouts == (0,)


def test_what_cannot_be_read_has_failed_and_is_not_rejected():
    assert summarised("sorry").status == "failed"
    assert summarised(GOOD).principles == ("count",)


def test_the_check_can_be_turned_off_or_replaced():
    assert isinstance(summarised(COPY, check=None), Experience)
    assert isinstance(
        summarised(COPY, check=CopyCheck(max_copied=1.0, max_numbers=1.0)), Experience
    )
    seen = []

    def strict(problem, completions, summary):
        seen.append((problem, list(completions), summary.principles))
        return "no"

    found = summarised(GOOD, check=strict)
    assert (found.status, found.reason) == ("rejected", "no")
    assert seen == [(EGGS, [WAY], ("count",))]


def test_only_english_prompts_are_checked_by_default():
    class Others:
        def __getattr__(self, name):
            return getattr(EnglishPrompts(), name)

    assert isinstance(LLMSummarizer(prompts=AgentPrompts()).check, CopyCheck)
    assert LLMSummarizer(prompts=Others()).check is None
    (found,) = LLMSummarizer(prompts=Others()).read(
        [Rollout(problem=EGGS, completion=WAY)], [Completion(text=COPY)]
    )
    assert isinstance(found, Experience)


def test_copied_sentences_are_never_checked():
    (found,) = ExtractiveSummarizer().read(
        [Rollout(problem=EGGS, completion=WAY, correct=True)], []
    )
    assert isinstance(found, Experience)
    assert CopyCheck()(EGGS, [WAY], found) is not None


# --- groups ---------------------------------------------------------------------------------------


def group(*outcomes, name="g", problem=PROBLEM, **fields):
    return [
        Rollout(problem=problem, completion=f"{name} way {i}", correct=one, group=name, **fields)
        for i, one in enumerate(outcomes)
    ]


def test_one_request_a_group_shows_both_outcomes_and_names_what_is_shown():
    rollouts = group(False, True, None, False, True)
    (request,) = contrastive(max_tokens=9).ask(rollouts)
    assert (request.role, request.max_tokens, request.rollouts) == ("summarise", 9, (1, 0))
    assert request.conversation == EnglishPrompts().contrast(PROBLEM, ["g way 1"], ["g way 0"])
    (request,) = contrastive(right=2, wrong=3).ask(rollouts)
    assert request.rollouts == (1, 4, 0, 3)


def test_every_group_gets_one_result_in_order():
    rollouts = [
        *group(True, False, name="both"),
        *group(False, False, name="wrong"),
        *group(True, name="right"),
        *group(None, None, name="unjudged"),
        *group(False, True, name="cut"),
        *group(True, False, name="copy", problem=EGGS),
    ]
    summarizer = contrastive()
    assert [request.rollouts for request in summarizer.ask(rollouts)] == [(0, 1), (8, 7), (9, 10)]
    copy = json.dumps({"principles": ["From 48 I take 15 off, then 8 more."]})
    answers = [
        Completion(text=GOOD),
        Completion(text='{"principles": ["c', truncated=True),
        Completion(text=copy),
    ]
    found = summarizer.read(rollouts, answers)
    assert isinstance(found[0], Experience)
    assert found[0].problem == PROBLEM
    failures = found[1:]
    assert [one.status for one in failures] == ["rejected"] * 3 + ["failed", "rejected"]
    assert [one.rollouts for one in failures] == [(2, 3), (4,), (5, 6), (8, 7), (9, 10)]
    assert [one.reason.partition(";")[0] for one in failures[:3]] == [
        "nothing to contrast: no right rollout",
        "nothing to contrast: no wrong rollout",
        "nothing to contrast: no right and no wrong rollout",
    ]
    assert "2 left out as unjudged" in failures[2].reason
    assert "token limit" in failures[3].reason
    assert failures[4].reason.startswith("number share 1.00 > 0.50")


def test_a_models_failure_is_that_of_its_group():
    rollouts = [*group(None, name="a"), *group(True, False, name="b")]
    found = contrastive().read(rollouts, [Failure(reason="busy", rollouts=(9,))])
    assert (found[1].reason, found[1].status, found[1].rollouts) == ("busy", "failed", (1, 2))


def test_rollouts_without_a_group_are_grouped_by_problem():
    other = Problem(text="How few?")
    rollouts = [
        rollout("a", correct=True),
        Rollout(problem=other, completion="b", correct=False),
        rollout("c", correct=False),
        rollout("d", correct=False, group="g"),
    ]
    assert [request.rollouts for request in contrastive().ask(rollouts)] == [(0, 2)]
    assert len(contrastive().read(rollouts, [Completion(text=GOOD)])) == 3


def test_a_reward_decides_where_there_is_no_verdict():
    rollouts = [rollout("a", reward=0.0), rollout("b", reward=0.2)]
    assert [request.rollouts for request in contrastive().ask(rollouts)] == [(1, 0)]


def test_empty_too_long_and_repeated_completions_are_not_shown():
    rollouts = [
        rollout(" \n", correct=True),
        rollout("long " * 9, correct=True),
        rollout("same", correct=True),
        rollout("same ", correct=True),
        rollout("other", correct=True),
        rollout("wrong", correct=False),
    ]
    summarizer = contrastive(right=3, max_chars=20)
    assert summarizer.ask(rollouts)[0].rollouts == (2, 4, 5)
    (found,) = contrastive(max_chars=20).read([rollouts[1], rollouts[5]], [])
    assert found.reason == (
        "nothing to contrast: no right rollout; 0 right, 1 wrong, "
        "1 left out as unjudged, empty or too long"
    )


def test_an_experience_of_a_group_comes_from_its_first_right_rollout_and_all_guides():
    def guided(*ids):
        return Guidance(kind="inter", text="hint", experience_ids=ids)

    rollouts = [
        rollout("a", reward=0.0, guidance=guided("e1", "e2"), step=3, policy="p", group="g"),
        rollout("b", reward=0.7, guidance=guided("e2", "e3"), step=4, policy="q", group="g"),
        rollout("c", reward=0.9, group="g"),
    ]
    (found,) = contrastive(right=2).read(rollouts, [Completion(text=GOOD)])
    metadata = found.metadata
    assert (metadata.reward, metadata.correct, metadata.source) == (0.7, True, "contrast")
    assert (metadata.step, metadata.policy, metadata.created_at) == (4, "q", None)
    assert metadata.parents == ("e2", "e3", "e1")


def test_provenance_of_one_rollout_and_of_wrong_ones():
    one = provenance(rollout(reward=0.0, step=2))
    assert (one.source, one.correct, one.reward) == ("rollout", False, 0.0)
    wrong = provenance(rollout(correct=False, step=5), rollout(correct=False, step=6))
    assert (wrong.source, wrong.correct, wrong.step) == ("contrast", False, 5)
