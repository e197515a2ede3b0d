from __future__ import annotations

import pytest

from lanpo_memory import Experience, ExperiencePool, Guide, PoolAdapter, Problem
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.sessions import session
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.types import Guidance, Observation

SEEN = Problem(text="A box holds 5 red apples. How many red apples are in 3 boxes?")
APPLES = Problem(text="A box holds 8 red apples. How many red apples are in 9 boxes?")
LESSON = "Equal groups: multiply the groups by the size of one."
DONE = "I multiply the number of boxes by what one of them holds."


@pytest.fixture
def pool():
    pool = ExperiencePool()
    pool.add([Experience(problem=SEEN, principles=(LESSON,))])
    return pool


@pytest.fixture
def memory(pool):
    """A ratio of 0: guidance comes because a session wants it, not because of a coin."""
    guide = Guide(pool, gamma=0.2)
    return PoolAdapter(pool, guide=guide, summarizer=ExtractiveSummarizer(), feedback_ratio=0.0)


def test_a_session_gives_guidance_and_stores_what_came_of_it(pool, memory):
    with session(memory, APPLES, step=3) as turn:
        assert LESSON in turn.guidance.text
        assert turn.observation is None
        turn.finish(DONE, reward=0.5, correct=True)
        assert len(pool) == 1, "nothing is stored before the block ends"
    assert isinstance(turn.observation, Observation)
    assert turn.observation.counts == {"added": 1}
    stored = pool.store.read("experience")[-1]
    assert (stored.problem, stored.metadata.step, stored.metadata.reward) == (APPLES, 3, 0.5)
    assert stored.metadata.correct is True
    exposure = pool.store.read("exposure")[0]
    assert exposure.lesson_ids == turn.guidance.lesson_ids
    assert (exposure.guided, exposure.step) == ((0.5,), 3)


def test_the_system_prompt_is_ones_own_text_and_the_guidance_behind_it(memory):
    with session(memory, APPLES) as turn:
        guidance = turn.guidance.text.strip()
        assert turn.system("Be brief.") == f"Be brief.\n\n{guidance}"
        assert turn.system() == guidance


def test_without_guidance_the_system_prompt_is_ones_own_text_alone():
    with session(PoolAdapter(ExperiencePool()), APPLES) as turn:
        assert turn.guidance == Guidance()
        assert (turn.system("Be brief."), turn.system()) == ("Be brief.", "")


def test_without_finish_nothing_is_stored(pool, memory):
    before = pool.digest()
    with session(memory, APPLES) as turn:
        pass
    assert turn.observation is None
    assert pool.digest() == before


def test_when_the_block_raises_nothing_is_stored_and_the_exception_travels(pool, memory):
    before = pool.digest()
    turns = []

    def work():
        with session(memory, APPLES) as turn:
            turns.append(turn)
            turn.finish(DONE, correct=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert turns[0].observation is None
    assert pool.digest() == before


def test_finish_counts_once(pool, memory):
    with session(memory, APPLES) as turn:
        turn.finish(DONE, correct=True)
        with pytest.raises(InvalidInputError, match="finish was called before"):
            turn.finish("another", correct=False)
    assert len(pool) == 2


def test_finish_after_the_block_is_refused(memory):
    with session(memory, APPLES) as turn:
        pass
    with pytest.raises(InvalidInputError, match="the session is over"):
        turn.finish(DONE)


@pytest.mark.parametrize("completion", [None, 72, {"answer": "72"}])
def test_a_completion_that_is_no_text_is_refused_with_the_remedy(memory, completion):
    with (
        session(memory, APPLES) as turn,
        pytest.raises(InvalidInputError, match=r"give text, such as str\(completion\)"),
    ):
        turn.finish(completion)


def test_a_wrong_outcome_counts_against_the_lesson_and_teaches_nothing(pool, memory):
    with session(memory, APPLES) as turn:
        turn.finish(DONE, correct=False)
    assert len(pool) == 1
    assert pool.store.read("exposure")[0].guided == (0.0,), "a verdict is evidence, too"
    assert pool.utility()[turn.guidance.lesson_ids[0]].mean < 0.5


def test_every_session_on_a_problem_counts_as_evidence(pool, memory):
    for text in ("first", "second", "second"):
        with session(memory, APPLES) as turn:
            turn.finish(text, reward=1.0)
    assert pool.store.count("exposure") == 2, "the very same completion counts once"
    for text in ("third", "fourth"):
        with session(memory, APPLES, group="g") as turn:
            turn.finish(text, reward=1.0)
    assert pool.store.count("exposure") == 3, "a group counts once"


def test_exploring_keeps_guidance_from_a_share_of_the_sessions(memory):
    def explored(seed):
        turns = []
        for step in range(80):
            with session(memory, APPLES, step=step, explore=0.25, seed=seed) as turn:
                assert bool(turn.guidance) is not turn.explored
                turns.append(turn.explored)
        return turns

    found = explored(0)
    assert 10 <= sum(found) <= 30
    assert explored(0) == found != explored(1)


def test_a_share_out_of_range_is_refused(memory):
    for explore in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="explore"), session(memory, APPLES, explore=explore):
            pass


def test_a_text_is_no_problem(memory):
    with pytest.raises(InvalidInputError, match="Problem"), session(memory, "Book a table."):
        raise AssertionError("the block is not entered")
