"""What a reflection is shown does not depend on what came of the attempt."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.reflectors import InRolloutReflector, TwoStageReflector
from lanpo_memory.summarizers import ContrastiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Attempt, Problem, Rollout

PROMPTS = EnglishPrompts()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
FILLED = TEXT.filter(str.strip)
REWARD = st.none() | st.floats(allow_nan=False, allow_infinity=False)
OUTCOME = st.tuples(REWARD, st.none() | st.booleans(), FILLED)  # reward, verdict, reference
CASES = st.lists(st.tuples(FILLED, FILLED), min_size=1, max_size=4)  # problem, completion
QUICK = settings(max_examples=60, deadline=None)
ANSWER = '### Experience\n{"principles": ["count on"]}'


class Caller:
    """Keeps the reference answers, as a trainer's reward function does, and reports verdicts."""

    def __init__(self, outcomes):
        self._outcomes = itertools.cycle(outcomes)

    def rollouts(self, cases, *, grouped=False):
        found = []
        for problem, completion in cases:
            reward, correct, reference = next(self._outcomes)
            if correct is None and reward is None:
                correct = completion == reference
            found.append(
                Rollout(
                    problem=Problem(text=problem),
                    completion=completion,
                    reward=reward,
                    correct=correct,
                    group=f"of {problem}" if grouped else None,
                )
            )
        return found


def attempts_of(rollouts):
    """What a trainer does: an attempt is made from a rollout's problem and text alone."""
    return [Attempt(problem=r.problem, text=r.completion, step=r.step) for r in rollouts]


@given(CASES, st.lists(OUTCOME, min_size=1), st.lists(OUTCOME, min_size=1))
@QUICK
def test_reflection_inside_the_rollout(cases, one, other):
    reflector = InRolloutReflector(PROMPTS)
    first, second = (
        reflector.reflect(attempts_of(Caller(outcomes).rollouts(cases)))
        for outcomes in (one, other)
    )
    assert first == second


@given(CASES, st.lists(OUTCOME, min_size=1), st.lists(OUTCOME, min_size=1), TEXT)
@QUICK
def test_reflection_in_two_stages(cases, one, other, critique):
    asked, shown = [], []
    for outcomes in (one, other):
        model = ScriptedChatModel(critique)
        reflector = TwoStageReflector(model, prompts=PROMPTS)
        shown.append(reflector.reflect(attempts_of(Caller(outcomes).rollouts(cases))))
        asked.append([call.conversations for call in model.calls])
    assert asked[0] == asked[1]
    assert asked[0]
    assert shown[0] == shown[1]


@given(CASES, st.lists(OUTCOME, min_size=1), st.lists(OUTCOME, min_size=1))
@QUICK
def test_summaries(cases, one, other):
    summarizer = LLMSummarizer(prompts=PROMPTS)
    first, second = (summarizer.ask(Caller(outcomes).rollouts(cases)) for outcomes in (one, other))
    assert first == second
    assert first


def everything(group):
    return list(range(len(group)))


def run(cases, outcomes, reflector_of):
    """Observe twice, ask for guidance, and return all that was sent or shown to a model."""
    model = ScriptedChatModel(lambda messages: ANSWER)
    pool = ExperiencePool()
    memory = PoolAdapter(
        pool,
        guide=Guide(pool, reflector=reflector_of(model)),
        summarizer=LLMSummarizer(prompts=PROMPTS),
        model=model,
        mode="intra",
        feedback_ratio=1.0,
        admission=everything,
    )
    caller, shown = Caller(outcomes), []
    problems = list({text: Problem(text=text) for text, _ in cases}.values())
    for step in range(2):
        guidance = memory.prepare(problems, step=step)
        shown += [
            guided.apply(PROMPTS.solve(p)) for guided, p in zip(guidance, problems, strict=True)
        ]
        rollouts = caller.rollouts([*cases, *((p, c + " again") for p, c in cases)], grouped=True)
        memory.observe(rollouts, step=step)
    last = memory.prepare(problems, step=2)
    shown += [guided.apply(PROMPTS.solve(p)) for guided, p in zip(last, problems, strict=True)]
    assert all(guided.kind == "intra" for guided in last)
    return [call.conversations for call in model.calls], shown


@given(CASES, st.lists(OUTCOME, min_size=1), st.lists(OUTCOME, min_size=1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_whole_way_through_the_memory(cases, one, other, two_stages):
    def reflector_of(model):
        return TwoStageReflector(model, prompts=PROMPTS) if two_stages else None

    assert run(cases, one, reflector_of) == run(cases, other, reflector_of)


@given(st.text("ab ", min_size=1, max_size=9).filter(str.strip), st.none() | st.integers(0, 9))
@QUICK
def test_family_and_metadata_of_a_problem_are_never_shown(family, value):
    plain = Problem(text="How many?")
    tagged = Problem(text="How many?", family=f"FAMILY {family}", metadata={"level": value})
    text = "I say 6."
    both = [InRolloutReflector(PROMPTS), TwoStageReflector(ScriptedChatModel("h"), prompts=PROMPTS)]
    for reflector in both:
        one, other = reflector.reflect([Attempt(problem=p, text=text) for p in (plain, tagged)])
        assert one.text == other.text
    ask = LLMSummarizer(prompts=PROMPTS).ask
    assert ask([Rollout(problem=plain, completion=text)]) == ask(
        [Rollout(problem=tagged, completion=text)]
    )


POSITIVE = st.floats(min_value=1e-9, max_value=1e9)


@given(
    st.lists(st.tuples(FILLED, st.booleans()), min_size=1, max_size=5),
    st.lists(POSITIVE, min_size=5, max_size=5),
    st.lists(POSITIVE, min_size=5, max_size=5),
)
@QUICK
def test_a_contrast_depends_on_the_split_alone_and_on_no_size_of_a_reward(cases, one, other):
    problem = Problem(text="How many?")

    def asked(sizes):
        rollouts = [
            Rollout(problem=problem, completion=text, reward=size if right else -size, group="g")
            for (text, right), size in zip(cases, sizes, strict=False)
        ]
        return ContrastiveSummarizer(prompts=PROMPTS, right=2, wrong=2).ask(rollouts)

    assert asked(one) == asked(other)
    verdicts = [
        Rollout(problem=problem, completion=text, correct=right, reward=size, group="g")
        for (text, right), size in zip(cases, one, strict=False)
    ]
    assert ContrastiveSummarizer(prompts=PROMPTS, right=2, wrong=2).ask(verdicts) == asked(one)


def test_the_property_would_notice_a_leak():
    """A reflector that peeks, by whatever way, makes the comparison fail."""

    class Peeking(EnglishPrompts):
        seen = itertools.count()

        def intra(self, attempt):
            return super().intra(attempt) + f"reward {next(self.seen)}"

    cases = [("How many?", "six")]
    prompts = Peeking()

    def leaky(model):
        return InRolloutReflector(prompts)

    outcomes = [(1.0, True, "6")]
    assert run(cases, outcomes, leaky) != run(cases, outcomes, leaky)
