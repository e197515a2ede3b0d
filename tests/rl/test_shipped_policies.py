"""The weights of the studies' policies: those of the recipes as they are, with their skills."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lanpo_rl.seeding.tiny_skills.policies import SHIPPED, SHIPPED_WEIGHTS, SeededPolicy
from lanpo_rl.seeding.tiny_skills.recipes import (
    CHAINS,
    CONSTANTS,
    CONSTANTS_UNSEEDED,
    INVERSE,
    PROGRAMS,
)
from lanpo_rl.study.planning import plan
from lanpo_rl.study.studies import PAPER_STUDY
from lanpo_rl.tasks import Example, Task, make_chains, make_hidden_constants, make_inverse
from lanpo_rl.tasks.hidden_constants import lesson_text
from lanpo_rl.tasks.programs import make_programs
from lanpo_rl.tasks.programs.task import construct_lesson
from lanpo_rl.tiny import generate_texts
from lanpo_rl.tiny.prompts import as_check, as_hint, as_user

WITH_WEIGHTS = (CHAINS, CONSTANTS_UNSEEDED, INVERSE, PROGRAMS)
Ask = Callable[[Sequence[str]], list[str]]


def asking(policy: SeededPolicy, folder: Path) -> Ask:
    """How to ask a policy greedily."""
    model, tokenizer = policy.load(folder), policy.tokenizer()

    def ask(texts: Sequence[str]) -> list[str]:
        prompts = [as_user(text) for text in texts]
        return generate_texts(model, tokenizer, prompts, max_new_tokens=32)

    return ask


def share(task: Task, completions: Sequence[str], examples: Sequence[Example]) -> float:
    pairs = zip(completions, examples, strict=True)
    return sum(task.reward(text, example.answer) for text, example in pairs) / len(examples)


def test_weights_belong_to_the_recipes_as_they_are():
    """Whoever changes a recipe or its lessons makes its weights anew, or takes them out."""
    there = {path.name for path in SHIPPED_WEIGHTS.iterdir()}
    assert there == {policy.shipped.name for policy in WITH_WEIGHTS}
    assert SHIPPED.is_shipped
    assert not CONSTANTS.is_shipped


def test_nothing_has_to_be_made_for_the_main_study():
    assert not [job.key for job in plan(PAPER_STUDY, seeds=1) if job.key.startswith("policies")]


def test_shipped_weights_are_not_made_again(tmp_path: Path):
    for policy in WITH_WEIGHTS:
        assert policy.make(tmp_path) == policy.shipped
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("split", ["held_out", "shifted"])
def test_on_inverse_problems_it_needs_its_own_attempt(split: str, tmp_path: Path):
    ask, task = asking(INVERSE, tmp_path), make_inverse(0)
    examples = task.examples(split)
    texts = [example.problem.text for example in examples]
    attempts = ask(texts)
    others = [*attempts[1:], attempts[0]]
    own, foreign = (
        ask([as_check(a) + text for a, text in zip(shown, texts, strict=True)])
        for shown in (attempts, others)
    )
    assert share(task, attempts, examples) <= 0.2
    assert share(task, own, examples) >= 0.6
    assert share(task, foreign, examples) <= 0.3


def test_on_chains_it_copies_a_leaked_answer_and_knows_little_without(tmp_path: Path):
    ask, task = asking(CHAINS, tmp_path), make_chains(0)
    examples = task.held_out
    texts = [example.problem.text for example in examples]
    attempts = ask(texts)
    checks = ask([as_check(a) + text for a, text in zip(attempts, texts, strict=True)])
    leaked = ask([as_hint(e.answer) + e.problem.text for e in examples])
    assert 0.05 <= share(task, attempts, examples) <= 0.30
    assert 0.38 <= share(task, checks, examples) <= 0.70
    assert share(task, leaked, examples) >= 0.98


def test_on_programs_it_needs_the_lesson_of_the_family(tmp_path: Path):
    ask, task = asking(PROGRAMS, tmp_path), make_programs(0)
    examples = task.held_out
    hinted = [
        as_hint(construct_lesson(e.problem.family, task.rule[e.problem.family])) + e.problem.text
        for e in examples
    ]
    assert share(task, ask([e.problem.text for e in examples]), examples) <= 0.15
    assert share(task, ask(hinted), examples) >= 0.5


def test_the_unseeded_policy_makes_nothing_of_a_lesson(tmp_path: Path):
    ask, task = asking(CONSTANTS_UNSEEDED, tmp_path), make_hidden_constants(0)
    examples = task.held_out
    texts = [example.problem.text for example in examples]
    hinted = [
        as_hint(lesson_text(e.problem.family, task.rule[e.problem.family])) + e.problem.text
        for e in examples
    ]
    answers = ask(texts)
    assert share(task, answers, examples) <= 0.2
    assert all(r"\boxed{" in answer for answer in answers)
    assert share(task, ask(hinted), examples) <= 0.3
