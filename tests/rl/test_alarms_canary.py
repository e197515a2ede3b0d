"""The canary: what it holds, when it asks, what it reads, and that nothing of it is stored."""

from __future__ import annotations

import json

import pytest

from lanpo_memory import Problem, Rollout
from lanpo_memory.answering import NOT_ASKED, answer
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.summarizers import ContrastiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Completion, Failure, Guidance
from lanpo_rl.alarms import Canary
from lanpo_rl.tiny import TinyPrompts


def right(name: str, step: int = 0, **more) -> Rollout:
    return Rollout(
        problem=Problem(text=f"{name} {name} {name} 8_6"),
        completion=r"C09+14=\boxed{23}",
        correct=True,
        step=step,
        **more,
    )


def tiny(**settings) -> Canary:
    return Canary(LLMSummarizer(prompts=TinyPrompts(), max_tokens=8), **settings)


def answers(*texts: str) -> list[Completion]:
    return [Completion(text=text) for text in texts]


NAMES = ("bako", "lufa", "rava")


@pytest.fixture
def full() -> Canary:
    canary = tiny(size=3, every=25)
    canary.offer([right(name) for name in NAMES])
    return canary


def test_it_takes_the_first_right_rollout_of_each_problem():
    canary = tiny(size=2)
    wrong = Rollout(problem=Problem(text="bako bako bako 1_1"), completion="C1", correct=False)
    unjudged = Rollout(problem=Problem(text="bako bako bako 2_2"), completion="C1")
    empty = right("rava").model_copy(update={"completion": "  "})
    canary.offer([wrong, unjudged, empty, right("bako"), right("bako", step=1)])
    assert len(canary.state()["rollouts"]) == 1
    canary.offer([right("lufa"), right("rava")])
    texts = [rollout["problem"]["text"] for rollout in canary.state()["rollouts"]]
    assert texts == ["bako bako bako 8_6", "lufa lufa lufa 8_6"]


def test_it_holds_no_guidance():
    canary = tiny()
    canary.offer([right("bako", guidance=Guidance(kind="inter", text="hint bako C09|"))])
    assert canary.state()["rollouts"][0]["guidance"] is None


def test_it_asks_when_full_and_then_every_so_often(full):
    due = []
    for step in range(80):
        if requests := full.ask(step):
            due.append(step)
            full.read(answers(*["bako C09"] * len(requests)))
    assert due == [0, 25, 50, 75]


def test_it_does_not_wait_for_ever_to_be_full():
    canary = tiny(size=8, every=25)
    assert canary.ask(500) == []
    canary.offer([right("bako", step=500)])
    assert canary.ask(524) == []
    assert len(canary.ask(525)) == 1
    canary.read(answers("bako C09"))
    canary.offer([right("lufa", step=530)])
    assert len(canary.ask(550)) == 2
    assert canary.read(answers("bako C09", "lufa C03")) == {
        "canary_readable": 1.0,
        "canary_agreement": 1.0,
    }


def test_steps_may_be_skipped(full):
    assert full.ask(3)
    full.read(answers("bako C09", "lufa C03", "rava C02"))
    assert full.ask(27) == []
    assert full.ask(40)


def test_requests_are_the_summarisers_in_a_role_of_their_own(full):
    requests = full.ask(0)
    assert {request.role for request in requests} == {"canary"}
    assert {request.max_tokens for request in requests} == {8}
    asked = [request.conversation for request in requests]
    plain = LLMSummarizer(prompts=TinyPrompts()).ask([right(name) for name in NAMES])
    assert asked == [request.conversation for request in plain]


def test_it_reads_what_became_of_its_first_summaries(full):
    full.ask(0)
    first = full.read(answers("bako C09", "lufa C03", "rava C02"))
    assert first == {"canary_readable": 1.0}
    full.ask(25)
    same = full.read(answers("bako C09", "lufa C03", "rava C02"))
    assert same == {"canary_readable": 1.0, "canary_agreement": 1.0, "canary_own": 1.0}
    full.ask(50)
    # The first is another lesson, the second cannot be read, the third is the first one's.
    drifted = full.read(answers("bako C01", "7+06", "bako C09"))
    assert drifted["canary_readable"] == pytest.approx(2 / 3)
    assert drifted["canary_agreement"] == pytest.approx((1 / 3 + 0) / 2)
    assert drifted["canary_own"] == pytest.approx(1 / 2)


def test_summaries_alike_for_all_are_nobodys_own(full):
    full.ask(0)
    full.read(answers("bako C09", "lufa C03", "rava C02"))
    full.ask(25)
    mush = full.read(answers("zudo C15", "zudo C15", "zudo C15"))
    assert mush["canary_own"] == pytest.approx(1 / 3)
    assert mush["canary_agreement"] == 0.0


def test_rollouts_that_were_alike_from_the_beginning_count_as_own(full):
    full.ask(0)
    full.read(answers("bako C09", "bako C09", "rava C02"))
    full.ask(25)
    assert full.read(answers("bako C09", "bako C09", "rava C02"))["canary_own"] == 1.0


def test_nothing_readable_has_no_agreement(full):
    full.ask(0)
    full.read(answers("bako C09", "lufa C03", "rava C02"))
    full.ask(25)
    assert full.read(answers("?", "", "=")) == {"canary_readable": 0.0}


def test_a_failed_call_cannot_be_read(full):
    full.ask(0)
    found = full.read([*answers("bako C09", "lufa C03"), Failure(reason="timed out")])
    assert found["canary_readable"] == pytest.approx(2 / 3)


def test_a_budget_that_ended_gives_no_reading(full):
    full.ask(0)
    found = full.read([*answers("bako C09"), *[Failure(reason=f"{NOT_ASKED} no money")] * 2])
    assert found == {}
    assert full.state()["first"] == {}


def test_answers_must_match_the_question(full):
    with pytest.raises(InvalidInputError, match="ask first"):
        full.read([])
    full.ask(0)
    with pytest.raises(InvalidInputError, match="2 answers for 3 requests"):
        full.read(answers("bako C09", "lufa C03"))


def test_what_is_offered_while_a_reading_waits_does_not_mix_in():
    canary = tiny(size=3, every=5)
    canary.offer([right("bako")])
    canary.ask(5)
    canary.offer([right("lufa")])
    assert canary.read(answers("bako C09")) == {"canary_readable": 1.0}


def test_a_summariser_of_contrasts_asks_nothing_about_right_rollouts_alone():
    canary = Canary(ContrastiveSummarizer(prompts=EnglishPrompts()), size=1)
    canary.offer([right("bako")])
    assert canary.ask(100) == []


def test_the_state_travels_at_any_moment(full):
    script = [
        ("bako C09", "lufa C03", "rava C02"),
        ("bako C09", "lufa C04", "?"),
        ("bako C01", "lufa C04", "rava C02"),
        ("?", "lufa C03", "rava C02"),
    ]

    def figures(canary: Canary, *, travels: bool) -> list[dict[str, float]]:
        found = []
        for step in range(0, 100, 5):
            requests = canary.ask(step)
            if travels:  # also between question and answers
                state = json.loads(json.dumps(canary.state(), allow_nan=False))
                canary = tiny(size=3, every=25)
                canary.restore(state)
            if requests:
                found.append(canary.read(answers(*script[len(found)])))
        return found

    other = tiny(size=3, every=25)
    other.offer([right(name) for name in NAMES])
    assert figures(other, travels=True) == figures(full, travels=False)


@pytest.mark.parametrize("state", [None, [], {}, {"rollouts": []}])
def test_a_foreign_state_is_refused(state):
    with pytest.raises(InvalidInputError, match="canary"):
        tiny().restore(state)


@pytest.mark.parametrize("settings", [{"size": 0}, {"every": 0}, {"every": "25"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError, match="got"):
        tiny(**settings)


def test_any_model_can_answer(full):
    model = ScriptedChatModel(["bako C09", "lufa C03", "rava C02"])
    found = answer(model, full.ask(0))
    assert full.read(found.answers) == {"canary_readable": 1.0}
    assert set(model.ledger.by_role()) == {"canary"}


def test_english_summaries_are_compared_by_their_words():
    canary = Canary(LLMSummarizer(prompts=EnglishPrompts(), check=None), size=1, every=1)
    canary.offer([right("bako")])
    canary.ask(0)
    canary.read(answers('{"thoughts": "Find the rate.", "principles": ["Divide first."]}'))
    canary.ask(1)
    found = canary.read(answers('{"thoughts": "find the RATE", "principles": ["divide, first"]}'))
    assert found["canary_agreement"] == 1.0
