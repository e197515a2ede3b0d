from hypothesis import given, settings
from hypothesis import strategies as st

import lanpo_memory.reflectors
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Reflector
from lanpo_memory.reflectors import InRolloutReflector
from lanpo_memory.types import Attempt, Problem, Rollout

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
    assert lanpo_memory.reflectors.__all__ == ["InRolloutReflector"]


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
