import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanpo_memory.reflectors
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.ledger import Ledger
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Reflector
from lanpo_memory.reflectors import InRolloutReflector, TwoStageReflector, critique_entry
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.stores.sqlite import SQLiteStore
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Attempt, Completion, Failure, Guidance, Problem, Rollout

REFLECTOR: Reflector = InRolloutReflector(EnglishPrompts())
FILLED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
FILLED = FILLED.filter(str.strip)
REWARD = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def attempt_at(problem, rollout):
    """What a trainer does: an attempt is made from a rollout's problem and text alone."""
    return Attempt(
        problem=problem, text=rollout.completion, step=rollout.step, policy=rollout.policy
    )


def test_the_package_lists_what_it_offers():
    names = ["InRolloutReflector", "TwoStageReflector", "critique_entry"]
    assert lanpo_memory.reflectors.__all__ == names


def test_one_guidance_for_each_attempt_in_order():
    problem = Problem(text="How many?")
    attempts = [Attempt(problem=problem, text=text) for text in ("one", "two")]
    found = REFLECTOR.reflect(attempts)
    assert [one.kind for one in found] == ["intra", "intra"]
    assert [one.attempt for one in found] == attempts
    assert [one.text for one in found] == [EnglishPrompts().intra(one) for one in attempts]
    assert REFLECTOR.reflect([]) == []


@given(FILLED, FILLED, st.lists(st.tuples(REWARD, st.none() | st.booleans()), min_size=2))
@settings(max_examples=100, deadline=None)
def test_reward_and_verdict_leave_the_prompt_byte_identical(problem_text, text, outcomes):
    problem = Problem(text=problem_text)
    rollouts = [
        Rollout(problem=problem, completion=text, reward=reward, correct=correct)
        for reward, correct in outcomes
    ]
    guidance = REFLECTOR.reflect([attempt_at(problem, rollout) for rollout in rollouts])
    prompts = {one.apply(problem.text).encode() for one in guidance}
    assert len(prompts) == 1
    assert len({one.model_dump_json() for one in guidance}) == 1


def test_an_attempt_has_no_place_for_an_outcome():
    assert set(Attempt.model_fields) == {"problem", "text", "step", "policy"}


# --- two stages -----------------------------------------------------------------------------------

PROBLEM = Problem(text="How many?")


def attempts(*texts):
    return [Attempt(problem=PROBLEM, text=text) for text in texts]


def two_stage(answers, **fields):
    ledger = fields.pop("ledger", None)
    model = ScriptedChatModel(answers, ledger=ledger)
    return TwoStageReflector(model, prompts=EnglishPrompts(), **fields), model


def test_critiques_are_asked_for_in_one_call_and_shown_with_the_attempt():
    reflector, model = two_stage(["first", "second"], max_tokens=77)
    checked: Reflector = reflector
    one, other = attempts("six", "seven")
    found = checked.reflect([one, other])
    (call,) = model.calls
    assert (call.role, call.max_tokens) == ("reflect", 77)
    assert call.conversations == [EnglishPrompts().critique(each) for each in (one, other)]
    assert [each.critique for each in found] == ["first", "second"]
    assert [each.attempt for each in found] == [one, other]
    assert {each.kind for each in found} == {"intra"}
    assert found[0].text == EnglishPrompts().intra_after(one, "first")


def test_nothing_to_reflect_costs_no_call():
    reflector, model = two_stage([])
    assert reflector.reflect([]) == []
    assert model.calls == []


@pytest.mark.parametrize(
    "answer",
    [Failure(reason="busy"), "", " \n", "<think>it was cut", Completion(text="<think>a</think> ")],
)
def test_without_a_critique_the_attempt_stands_alone(answer):
    reflector, _ = two_stage([answer, "fine"])
    failed, fine = reflector.reflect(attempts("six", "seven"))
    (plain,) = InRolloutReflector(EnglishPrompts()).reflect(attempts("six"))
    assert failed == plain
    assert failed.critique == ""
    assert fine.critique == "fine"


def test_a_critique_is_what_was_said_after_thinking():
    reflector, _ = two_stage("<think>is it 5? 6?</think>\n\nStep one\0 fails.\ud800\n")
    (found,) = reflector.reflect(attempts("six"))
    assert found.critique == "Step one fails."


def test_an_attempt_that_comes_twice_is_asked_about_once():
    reflector, model = two_stage(["a", "b"])
    late = Attempt(problem=PROBLEM, text="six", step=9, policy="p")
    found = reflector.reflect([*attempts("six", "seven"), late])
    assert [each.critique for each in found] == ["a", "b", "a"]
    assert found[2].attempt == late
    assert len(model.calls[0].conversations) == 2


def test_a_budget_travels_on():
    reflector, model = two_stage("a", ledger=Ledger(max_calls=1))
    with pytest.raises(BudgetExceeded):
        reflector.reflect(attempts("six", "seven"))
    assert model.ledger.total.calls == 0


def test_a_setting_without_sense_is_refused():
    with pytest.raises(ConfigError, match="max_tokens must be at least 1, got 0"):
        two_stage("a", max_tokens=0)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_stored_critique_is_not_asked_for_again(kind, tmp_path):
    store = MemoryStore() if kind == "memory" else SQLiteStore(str(tmp_path / "pool.db"))
    reflector, model = two_stage(["about six", "about eight"], store=store)
    first = reflector.reflect(attempts("six"))
    store.cache([entry for each in first if (entry := critique_entry(each))])
    again = reflector.reflect(attempts("eight", "six"))
    assert [each.critique for each in again] == ["about eight", "about six"]
    assert again[1] == first[0]
    assert [len(call.conversations) for call in model.calls] == [1, 1]
    store.close()


def test_a_store_without_a_cache_is_left_alone():
    class Forgetful(MemoryStore):
        promises = frozenset()

        def cached(self, keys):
            raise AssertionError("not promised")

    reflector, _ = two_stage("a", store=Forgetful())
    assert [each.critique for each in reflector.reflect(attempts("six"))] == ["a"]


def test_only_a_critique_with_its_attempt_is_stored():
    (attempt,) = attempts("six")
    assert critique_entry(Guidance()) is None
    assert critique_entry(Guidance(kind="intra", attempt=attempt)) is None
    assert critique_entry(Guidance(kind="intra", critique="a")) is None
    key, value = critique_entry(Guidance(kind="intra", attempt=attempt, critique="\u00fc"))
    assert value.decode() == "\u00fc"
    later = Attempt(problem=PROBLEM, text="six", step=3, policy="p")
    assert critique_entry(Guidance(kind="intra", attempt=later, critique="b"))[0] == key
    other = Attempt(problem=Problem(text="How few?"), text="six")
    assert critique_entry(Guidance(kind="intra", attempt=other, critique="b"))[0] != key
