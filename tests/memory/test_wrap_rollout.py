from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from lanpo_memory import (
    Completion,
    Experience,
    ExperiencePool,
    Guide,
    PoolAdapter,
    Problem,
    wrap_rollout,
)
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.rollouts import Sampled, problem_of
from lanpo_memory.summarizers import ExtractiveSummarizer, LLMSummarizer

SEEN = Problem(text="A box holds 5 red apples. How many red apples are in 3 boxes?")
APPLES = "A box holds 8 red apples. How many red apples are in 9 boxes?"
PEARS = "A tree bears 30 pears. Half of them fall. How many pears hang?"
LESSON = "Equal groups: multiply the groups by the size of one."
DONE = "I multiply the number of boxes by what one of them holds."


@pytest.fixture
def pool():
    pool = ExperiencePool()
    pool.add([Experience(problem=SEEN, principles=(LESSON,))])
    return pool


def adapter(pool, **options):
    options = {"summarizer": ExtractiveSummarizer(), "feedback_ratio": 1.0} | options
    return PoolAdapter(pool, guide=Guide(pool, gamma=0.2), **options)


@pytest.fixture
def memory(pool):
    return adapter(pool)


def sample(prompts):
    return [DONE for _ in prompts]


class Recorder:
    """A rollout function that keeps what it was given."""

    def __init__(self, answer=sample):
        self.prompts, self.kwargs, self._answer = [], [], answer

    def __call__(self, prompts, **kwargs):
        self.prompts.append(prompts)
        self.kwargs.append(kwargs)
        return self._answer(prompts)


# ------------------------------------------------------------------ before


def test_the_function_gets_the_guided_prompts_and_the_batch_keeps_both(memory):
    fn = Recorder()
    batch = wrap_rollout(fn, memory)([APPLES, PEARS])
    assert LESSON in fn.prompts[0][0]
    assert fn.prompts[0][0].endswith(APPLES)
    assert fn.prompts[0][1] == PEARS, "nothing in the pool is about pears"
    assert batch.prompts == fn.prompts[0]
    assert batch.bare_prompts == [APPLES, PEARS]
    assert [bool(g) for g in batch.guidance] == [True, False]
    assert batch.guidance[0].apply(APPLES) == batch.prompts[0]
    assert (batch.completions, len(batch)) == ([DONE, DONE], 2)


def test_conversations_are_guided_in_their_last_user_message_and_left_as_they_were(memory):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": APPLES}]
    batch = wrap_rollout(sample, memory)([messages])
    assert messages[1]["content"] == APPLES
    assert batch.prompts[0][0] == messages[0]
    assert LESSON in batch.prompts[0][1]["content"]
    assert batch.problems == [Problem(text=APPLES)]


def test_a_group_draws_one_guidance_whatever_the_order(memory):
    asked = []
    prepare = memory.prepare

    def spy(problems, **options):
        asked.append([p.text for p in problems])
        return prepare(problems, **options)

    memory.prepare = spy
    batch = wrap_rollout(sample, memory)([APPLES, PEARS, APPLES, APPLES])
    assert asked == [[APPLES, PEARS]]
    assert batch.guidance[0] == batch.guidance[2] == batch.guidance[3]
    assert batch.groups[0] == batch.groups[2] != batch.groups[1]


def test_of_a_mixed_group_the_last_part_is_guided(memory):
    batch = wrap_rollout(sample, memory, guided_fraction=0.5)([APPLES] * 4 + [PEARS] * 2)
    assert [bool(g) for g in batch.guidance] == [False, False, True, True, False, False]
    assert batch.prompts[:2] == [APPLES, APPLES]
    assert batch.prompts[2] == batch.prompts[3] != APPLES


def test_what_is_left_over_of_a_share_is_tossed_for(memory):
    rollout = wrap_rollout(sample, memory, guided_fraction=0.5)
    counts = [sum(map(bool, rollout([APPLES] * 3, step=step).guidance)) for step in range(60)]
    assert set(counts) == {1, 2}
    assert 1.3 < sum(counts) / len(counts) < 1.7


def test_the_memory_decides_whether_there_is_guidance_at_all(pool):
    batch = wrap_rollout(sample, adapter(pool, feedback_ratio=0.0))([APPLES] * 2)
    assert batch.prompts == batch.bare_prompts


def test_problems_can_be_given_where_the_prompt_holds_more(memory):
    prompts = [f"Answer with a number. {APPLES}"] * 2
    batch = wrap_rollout(sample, memory)(prompts, problems=[APPLES, Problem(text=APPLES)])
    assert batch.problems == [Problem(text=APPLES)] * 2
    assert len(set(batch.groups)) == 1


def test_what_else_is_given_goes_to_the_function(memory):
    fn = Recorder()
    wrap_rollout(fn, memory)([APPLES], temperature=0.5)
    assert fn.kwargs == [{"temperature": 0.5}]


def test_an_empty_batch_is_an_empty_batch(pool, memory):
    batch = wrap_rollout(sample, memory)([])
    assert (batch.prompts, batch.completions) == ([], [])
    assert batch.outcome([]).receipts == ()


# ------------------------------------------------------------------ steps


def test_steps_count_up_or_are_the_trainers(memory):
    rollout = wrap_rollout(sample, memory, first_step=7)
    assert [rollout([APPLES]).step, rollout([APPLES]).step] == [7, 8]
    assert rollout([APPLES], step=20).step == 20
    assert rollout.step == 21


def test_batches_of_one_step_are_groups_of_their_own(pool, memory):
    rollout = wrap_rollout(sample, memory)
    first, second = rollout([APPLES], step=3), rollout([APPLES], step=3)
    assert first.groups != second.groups
    for batch in (first, second):
        batch.outcome([1.0])
    assert len(pool.store.read("exposure")) == 2, "both count as evidence"


def test_the_same_seed_and_steps_give_the_same_pool():
    digests = []
    for _ in range(2):
        pool = ExperiencePool(clock=lambda: 0.0)
        rollout = wrap_rollout(sample, adapter(pool, mode="both"), guided_fraction=0.5)
        for _ in range(3):
            rollout([APPLES] * 3 + [SEEN.text] * 3).outcome([1.0, 0.0, 1.0] * 2)
        digests.append(pool.digest())
    assert digests[0] == digests[1]


# ------------------------------------------------------------------ after


def test_rewards_that_the_function_returns_are_told_at_once(pool, memory):
    def scored(prompts):
        return [DONE] * len(prompts), [1.0, 0.0]

    batch = wrap_rollout(scored, memory, policy="mine")([APPLES] * 2)
    assert batch.rewards == [1.0, 0.0]
    assert batch.observation.counts == {"added": 1}
    stored = pool.store.read("experience")[-1]
    assert (stored.problem.text, stored.metadata.policy) == (APPLES, "mine")
    assert stored.metadata.parents == batch.guidance[0].experience_ids
    exposure = pool.store.read("exposure")[0]
    assert (exposure.guided, exposure.group_size) == ((1.0, 0.0), 2)


def test_rewards_that_come_later_are_told_then(pool, memory):
    batch = wrap_rollout(sample, memory)([APPLES] * 2)
    assert (batch.rewards, batch.observation, len(pool)) == (None, None, 1)
    seen = batch.outcome(np.array([0.0, 1.0]))
    assert batch.observation is seen
    assert (dict(seen.counts), batch.rewards) == ({"added": 1}, [0.0, 1.0])


def test_a_verdict_is_enough(pool, memory):
    batch = wrap_rollout(sample, memory)([APPLES] * 2)
    batch.outcome(correct=[False, True])
    assert batch.rewards == [0.0, 1.0]
    assert pool.store.read("experience")[-1].metadata.correct is True


def test_a_bar_says_which_rewards_are_right(memory):
    rollout = wrap_rollout(sample, memory, correct_above=0.5)
    batch = rollout([APPLES] * 3)
    assert [r.correct for r in batch.rollouts([0.1, 0.9, None])] == [False, True, None]


def test_scratch_and_guided_rewards_of_a_mixed_group_are_kept_apart(pool):
    rollout = wrap_rollout(sample, adapter(pool, randomised=True), guided_fraction=0.5)
    rollout([APPLES] * 4).outcome([0.0, 0.1, 1.0, 0.9])
    exposure = pool.store.read("exposure")[0]
    assert (exposure.scratch, exposure.guided) == ((0.0, 0.1), (1.0, 0.9))
    assert exposure.randomised


def test_a_rollout_that_could_not_be_scored_is_kept_without_a_reward(pool):
    batch = wrap_rollout(sample, adapter(pool, mode="both"))([APPLES] * 2)
    batch.outcome([math.nan, None])
    assert batch.rewards == [None, None]
    assert [a.text for a in pool.attempts(Problem(text=APPLES))] == [DONE]


def test_an_empty_completion_is_no_obstacle(pool, memory):
    batch = wrap_rollout(lambda prompts: ["", DONE], memory)([PEARS, APPLES])
    assert batch.outcome([1.0, 1.0]).counts == {"added": 1, "failed": 1}


def test_a_completion_that_no_record_can_hold_does_not_cost_the_batch(pool, memory):
    batch = wrap_rollout(lambda prompts: [f"{DONE}\0\ud800"], memory)([APPLES])
    assert batch.outcome([1.0]).counts == {"added": 1}
    assert batch.completions == [f"{DONE}\0\ud800"], "the trainer has what was sampled"


def test_an_outcome_is_told_once(memory):
    batch = wrap_rollout(sample, memory)([APPLES])
    batch.outcome([1.0])
    with pytest.raises(InvalidInputError, match="reported before"):
        batch.outcome([1.0])


def test_when_storing_fails_the_outcome_can_be_told_again(pool, memory, monkeypatch):
    batch = wrap_rollout(sample, memory)([APPLES])

    def full(written):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "write", full)
        with pytest.raises(OSError, match="no space"):
            batch.outcome([1.0])
    assert (batch.observation, batch.rewards) == (None, None)
    assert batch.outcome([1.0]).counts == {"added": 1}


def test_the_policy_itself_may_answer_the_summarizer(pool):
    asked = []

    def write(requests):
        asked.extend(requests)
        lesson = (
            '### Experience\n{"Flow of thought": ["1. I saw groups."], "Takeaways": ["Count."]}'
        )
        return [Completion(text=lesson) for _ in requests]

    memory = adapter(pool, summarizer=LLMSummarizer(prompts=EnglishPrompts()))
    batch = wrap_rollout(sample, memory, answer=write)([APPLES] * 2)
    assert batch.outcome([1.0, 0.0]).counts == {"added": 1}
    assert len(asked) == 1
    assert DONE in str(asked[0].conversation)
    assert "Count." in str(pool.store.read("experience")[-1])


def test_what_a_trainer_needs_besides_is_handed_on(memory):
    ids = np.arange(4)
    batch = wrap_rollout(lambda prompts: Sampled([DONE], extra=ids), memory)([APPLES])
    assert batch.extra is ids
    assert batch.observation is None


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_when_the_function_raises_nothing_is_stored_and_the_step_is_not_used_up(
    pool, memory, error
):
    def broken(prompts):
        raise error

    rollout, before = wrap_rollout(broken, memory), pool.digest()
    with pytest.raises(error):
        rollout([APPLES])
    assert (rollout.step, pool.digest()) == (0, before)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (["one"], "1 completions for 2 prompts"),
        ("a text", "returned a str"),
        (None, "returned a NoneType"),
        ([[1, 2], [3]], "completion 0 is a list, not a text; decode it"),
        ((["a", "b"], [1.0]), "rewards has 1 items for 2 completions"),
        ((["a", "b"], [1.0, math.inf]), "reward"),
    ],
)
def test_an_answer_of_another_shape_is_refused_and_nothing_stored(pool, memory, answer, complaint):
    before = pool.digest()
    with pytest.raises(InvalidInputError, match=complaint):
        wrap_rollout(lambda prompts: answer, memory)([APPLES, APPLES])
    assert pool.digest() == before


@pytest.mark.parametrize(
    ("prompts", "options", "complaint"),
    [
        (APPLES, {}, "give a list of prompts"),
        ([{"role": "user", "content": APPLES}], {}, "give a list of prompts"),
        ([[1, 2, 3]], {}, "token ids have to be decoded"),
        ([3], {}, "token ids have to be decoded"),
        ([[{"role": "system", "content": "Be brief."}]], {}, "no user message"),
        ([" "], {}, "empty"),
        ([APPLES], {"problems": [APPLES, PEARS]}, "one item for each of 1 prompts, got 2"),
        ([APPLES], {"problems": APPLES}, "got a string"),
        (
            [APPLES, PEARS],
            {"problems": [Problem(text=APPLES, id="a"), Problem(text=PEARS, id="a")]},
            "two problems of the batch have the id 'a'",
        ),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_before_anything_runs(
    memory, prompts, options, complaint
):
    fn = Recorder()
    with pytest.raises(InvalidInputError, match=complaint):
        wrap_rollout(fn, memory)(prompts, **options)
    assert fn.prompts == []


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, math.nan])
def test_a_share_that_is_none_is_refused(memory, share):
    with pytest.raises(ConfigError, match="guided_fraction"):
        wrap_rollout(sample, memory, guided_fraction=share)


def test_the_text_of_a_message_in_parts_is_the_problem():
    parts = [{"type": "image"}, {"type": "text", "text": "2 + 3?"}]
    assert problem_of([{"role": "user", "content": parts}]).text == "2 + 3?"


# ------------------------------------------------------------------ async


async def sample_slowly(prompts):
    await asyncio.sleep(0)
    return sample(prompts)


def test_an_async_function_is_refused_with_the_way_to_do_it(memory):
    with pytest.raises(InvalidInputError, match=r"asyncio\.run\(fn\(prompts\)\)"):
        wrap_rollout(sample_slowly, memory)([APPLES])


def test_the_way_to_do_it_works(memory):
    rollout = wrap_rollout(lambda prompts: asyncio.run(sample_slowly(prompts)), memory)

    async def train():
        return await asyncio.gather(
            *(asyncio.to_thread(rollout, [APPLES] * 2, step=step) for step in range(4))
        )

    batches = asyncio.run(train())
    assert [batch.step for batch in batches] == [0, 1, 2, 3]
    assert all(batch.completions == [DONE, DONE] for batch in batches)


# ------------------------------------------------------------------ a trainer that is not TRL

COLOURS = ["red", "green", "blue", "white"]
METALS = ["brass", "iron", "silver", "copper", "tin", "zinc", "gold", "lead", "nickel", "steel"]
METALS += ["bronze", "pewter"]  # each opens the drawer of its number modulo four
WORDS = COLOURS + METALS


def key(metal: int, number: int) -> str:
    return f"The {METALS[metal]} key has number {number}. Which drawer does it open?"


class Softmax:
    """Which drawer, from the words of a prompt: logits linear in 16 words, REINFORCE by hand."""

    def __init__(self, seed: int) -> None:
        self.weights = np.zeros((len(WORDS), len(COLOURS)))
        self.random = np.random.default_rng(seed)

    def features(self, prompt):
        words = set(prompt.lower().replace(".", " ").split())
        return np.array([float(word in words) for word in WORDS])

    def probabilities(self, prompt):
        odds = np.exp(self.features(prompt) @ self.weights)
        return odds / odds.sum()

    def sample(self, prompts):
        picks = [int(self.random.choice(4, p=self.probabilities(p))) for p in prompts]
        return Sampled([f"It opens the {COLOURS[pick]} drawer." for pick in picks], extra=picks)

    def reinforce(self, prompt, pick, advantage):
        gradient = np.outer(self.features(prompt), np.eye(4)[pick] - self.probabilities(prompt))
        self.weights += 0.5 * advantage * gradient


def train(*, distil: bool, seed: int, steps: int = 60, group: int = 4):
    """Policy gradient under exactly the guided prompts; each half of a group its own baseline."""
    pool = ExperiencePool()
    memory = PoolAdapter(
        pool,
        guide=Guide(pool, gamma=0.1),
        summarizer=ExtractiveSummarizer(),
        feedback_ratio=1.0,
        randomised=True,
    )
    policy = Softmax(seed)
    rollout = wrap_rollout(policy.sample, memory, guided_fraction=0.5)
    guided_rewards, bare_rewards = [], []
    for step in range(steps):
        metals = np.repeat(policy.random.integers(len(METALS), size=2), group)
        batch = rollout([key(metal, 10 * step + i // group) for i, metal in enumerate(metals)])
        rewards = np.equal(batch.extra, metals % 4).astype(float)
        batch.outcome(rewards)
        groups, guided = np.array(batch.groups), np.array([bool(g) for g in batch.guidance])
        for i, pick in enumerate(batch.extra):
            mine = groups == groups[i]
            level = rewards[mine & (guided == guided[i])].mean()
            policy.reinforce(batch.prompts[i], pick, rewards[i] - level)
            if distil and guided[i]:
                gain = rewards[i] - rewards[mine & ~guided].mean()
                policy.reinforce(batch.bare_prompts[i], pick, max(0.0, gain))
        guided_rewards += list(rewards[guided])
        bare_rewards += list(rewards[~guided])
    bare = np.mean([policy.probabilities(key(m, 9999))[m % 4] for m in range(len(METALS))])
    return np.mean(guided_rewards), np.mean(bare_rewards), bare


def test_a_trainer_of_twenty_lines_learns_with_it():
    plain = [train(distil=False, seed=seed) for seed in range(5)]
    distilled = [train(distil=True, seed=seed) for seed in range(5)]
    for guided, bare, after in plain:
        assert guided > bare + 0.1, "guidance helps while it is there"
        assert after > 0.6, "a guess would be right in a quarter"
    for (_, _, before), (_, _, after) in zip(plain, distilled, strict=True):
        assert after > before, "the distilling term keeps it without the guidance"
