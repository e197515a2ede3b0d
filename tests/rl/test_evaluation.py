"""What `evaluate` counts, with a model whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Experience, Problem
from lanpo_rl.evaluation import evaluate
from lanpo_rl.evaluation import greedy as evaluation
from lanpo_rl.tasks import LEXICAL_GAMMA, HiddenConstants, make_hidden_constants
from lanpo_rl.tasks.base import boxed_reward
from lanpo_rl.tasks.hidden_constants import lesson_text, solution_text
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

TASK = make_hidden_constants(0, families=4, held_out_per_family=5)


def operands(text: str) -> tuple[int, int]:
    a, b = text.split()[-1].split("_")
    return int(a), int(b)


class HintReader:
    """Stands in for generation: adds the hinted constant, or a fixed one without a hint."""

    def __init__(self, blind: int) -> None:
        self.blind, self.asked = blind, list[str]()

    def __call__(self, model: Any, tokenizer: Any, prompts: Any, **_: Any) -> list[str]:
        texts = [messages[-1]["content"] for messages in prompts]
        self.asked += texts
        return [self.answer(text) for text in texts]

    def answer(self, text: str) -> str:
        hint, bar, problem = text.rpartition("|")
        constant = int(hint.split()[-1].removeprefix("C")) if bar else self.blind
        return solution_text(*operands(problem), constant)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> HintReader:
    # The answer that is right for one family of the four, and for no other.
    reader = HintReader(next(iter(TASK.rule.values())))
    monkeypatch.setattr(evaluation, "generate_texts", reader)
    return reader


def lessons(task: HiddenConstants, families: list[str], **wrong: int) -> ExperiencePool:
    """A pool with one lesson of each family, from a training problem."""
    pool = ExperiencePool()
    problems = {e.problem.family: e.problem for e in task.train}
    receipts = pool.add(
        [
            Experience(
                problem=problems[name],
                principles=(lesson_text(name, wrong.get(name, task.rule[name])),),
            )
            for name in families
        ]
    )
    assert [r.status for r in receipts] == ["added"] * len(families)
    return pool


def guide(pool: ExperiencePool, gamma: float = LEXICAL_GAMMA) -> Guide:
    return Guide(pool, prompts=TinyPrompts(), gamma=gamma)


def measured(pool: ExperiencePool | None = None, **options: Any) -> evaluation.Evaluation:
    found = None if pool is None else guide(pool, **options)
    return evaluate(
        None, None, TASK.held_out, prompts=TinyPrompts(), score=boxed_reward, guide=found
    )


def test_bare_accuracy_is_the_share_of_right_answers(reader: HintReader):
    result = measured()
    assert (result.n, result.accuracy) == (20, 5 / 20)
    assert (result.guided, result.right_family) == (0.0, None)
    assert reader.asked == [e.problem.text for e in TASK.held_out]


def test_with_every_family_in_the_pool_all_is_guided_and_right(reader: HintReader):
    result = measured(lessons(TASK, [*TASK.rule]))
    assert result == evaluation.Evaluation(20, accuracy=1.0, guided=1.0, right_family=1.0)
    assert all(text.startswith("hint ") for text in reader.asked)


def test_problems_without_guidance_are_asked_bare(reader: HintReader):
    _, other, *_ = TASK.rule
    result = measured(lessons(TASK, [other]))
    # Guided and right: `other`. Bare and right by chance: the family that a blind guess suits.
    assert result == evaluation.Evaluation(20, accuracy=0.5, guided=0.25, right_family=1.0)
    assert sum(text.startswith("hint ") for text in reader.asked) == 5


def test_a_wrong_lesson_costs_accuracy_though_the_family_is_right(reader: HintReader):
    first, *_ = TASK.rule
    result = measured(lessons(TASK, [first], **{first: 15 - TASK.rule[first]}))
    assert (result.accuracy, result.guided, result.right_family) == (0.0, 0.25, 1.0)


def test_guidance_from_another_family_is_counted_as_such(reader: HintReader):
    first, *_ = TASK.rule
    pool = ExperiencePool()
    text = "".join(f"{name} " for name in TASK.rule) + "0_0"
    pool.add(
        [
            Experience(
                problem=Problem(text=text, family=first),
                principles=(lesson_text(first, TASK.rule[first]),),
            )
        ]
    )
    result = measured(pool, gamma=0.0)
    assert (result.guided, result.right_family) == (1.0, 0.25)


def test_problems_without_a_family_have_no_right_one(reader: HintReader):
    pool = lessons(TASK, [*TASK.rule])
    plain = [
        replace(e, problem=e.problem.model_copy(update={"family": None})) for e in TASK.held_out
    ]
    result = evaluate(
        None, None, plain, prompts=TinyPrompts(), score=boxed_reward, guide=guide(pool)
    )
    assert (result.guided, result.right_family) == (1.0, None)


def test_an_empty_pool_guides_nothing(reader: HintReader):
    assert measured(ExperiencePool()) == measured()


def test_the_pool_is_only_read(reader: HintReader):
    pool = lessons(TASK, [*TASK.rule])
    before = pool.digest(), pool.stats()
    measured(pool)
    assert (pool.digest(), pool.stats()) == before


def test_a_pool_made_from_evaluation_problems_is_refused(reader: HintReader):
    pool = lessons(TASK, [*TASK.rule])
    seen = TASK.held_out[3].problem
    # The very problem, whatever the white space; what was learned from it does not matter.
    copy = Problem(text=f" {seen.text} ")
    pool.add([Experience(problem=copy, thoughts="nothing")])
    with pytest.raises(
        ConfigError, match=r"holds 1 experiences made from evaluation problems"
    ) as e:
        measured(pool)
    assert seen.id in str(e.value)
    assert reader.asked == []


def test_no_problems_is_an_error():
    with pytest.raises(ConfigError, match="no problems"):
        evaluate(None, None, [], prompts=TinyPrompts(), score=boxed_reward)


def test_the_tiny_policy_is_measured_alike_twice_and_as_its_answers_say():
    model, tokenizer = load_policy(), load_tokenizer()
    given: list[tuple[str, str]] = []

    def score(text: str, answer: str) -> float:
        given.append((text, answer))
        return boxed_reward(text, answer)

    few = TASK.held_out[:12]
    options: dict[str, Any] = {"prompts": TinyPrompts(), "score": score}
    first = evaluate(model, tokenizer, few, **options)
    assert [answer for _, answer in given] == [e.answer for e in few]
    assert first.accuracy == sum(boxed_reward(*pair) for pair in given) / 12
    assert evaluate(model, tokenizer, few, **options) == first
    found = guide(lessons(TASK, [*TASK.rule]))
    helped = evaluate(model, tokenizer, few, guide=found, **options)
    assert (helped.guided, helped.right_family) == (1.0, 1.0)
    assert given[:12] != given[24:]  # the hints reached the model
