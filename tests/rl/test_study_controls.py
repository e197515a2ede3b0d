"""Controls are what they say: a placebo is mismatched, a leak shows the answer, a pool freezes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.adapter import Mode, PoolAdapter
from lanpo_memory.admission import admit_correct
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Attempt, Batch, Experience, Guidance, Problem, Rollout
from lanpo_rl.config import LanpoConfig
from lanpo_rl.study.controls import (
    Control,
    FrozenPoolControl,
    LeakyControl,
    OracleControl,
    PlaceboControl,
    RawSolutionsControl,
    Surroundings,
)
from lanpo_rl.study.controls.placebo import is_mismatched
from lanpo_rl.tasks import LEXICAL_GAMMA, Example, Task, make_chains, make_hidden_constants
from lanpo_rl.tasks.hidden_constants import lesson_text
from lanpo_rl.tiny import TinyPrompts, load_tokenizer

CONSTANTS = make_hidden_constants(3)
CHAINS = make_chains(3)
TOKENIZER = load_tokenizer()


def count_tokens(text: str) -> int:
    return len(TOKENIZER.encode(text, add_special_tokens=False))


def memory_of(
    mode: Mode = "inter", pool: ExperiencePool | None = None, **settings: Any
) -> PoolAdapter:
    pool = ExperiencePool() if pool is None else pool
    guide = Guide(pool, prompts=TinyPrompts(), gamma=LEXICAL_GAMMA, count_tokens=count_tokens)
    chosen: dict[str, Any] = {"feedback_ratio": 1.0, **settings}
    return PoolAdapter(pool, guide=guide, mode=mode, **chosen)


def around(task: Task, steps: int = 40) -> Surroundings:
    return Surroundings(task, seed=3, steps=steps)


@pytest.fixture(scope="module")
def lessons() -> ExperiencePool:
    """A lesson from 6 problems of each family."""
    pool = ExperiencePool()
    by_family: dict[str | None, list[Experience]] = {}
    for example in CONSTANTS.train:
        family = str(example.problem.family)
        lesson = lesson_text(family, CONSTANTS.rule[family])
        made = by_family.setdefault(family, [])
        if len(made) < 6:
            made.append(Experience(problem=example.problem, principles=(lesson,)))
    pool.add([experience for made in by_family.values() for experience in made])
    return pool


@pytest.fixture(scope="module")
def attempts() -> ExperiencePool:
    pool = ExperiencePool()
    pool.write(
        Batch(
            attempts=tuple(
                Attempt(problem=e.problem, text=f"+3:{i % 10}\\boxed{{{i % 10}}}", step=1)
                for i, e in enumerate(CHAINS.train)
            )
        )
    )
    return pool


# ---------------------------------------------------------------------- placebo


def families_shown(pool: ExperiencePool, guidance: Guidance) -> set[str | None]:
    shown = [experience for experience in pool.get(guidance.experience_ids) if experience]
    return {experience.problem.family for experience in shown}


def test_a_placebo_is_of_another_family_and_as_long(lessons: ExperiencePool):
    own = memory_of(pool=lessons)
    placebo = PlaceboControl().wrap(own, around(CONSTANTS))
    problems = [example.problem for example in CONSTANTS.train[:45]]
    for step in (1, 2):
        real = own.prepare(problems, step=step)
        given = placebo.prepare(problems, step=step)
        assert all(guidance.kind == "inter" for guidance in (*real, *given))
        for problem, mine, other in zip(problems, real, given, strict=True):
            assert families_shown(lessons, mine) == {problem.family}
            assert problem.family not in families_shown(lessons, other)
            assert str(problem.family) not in other.text
            assert count_tokens(other.text) == count_tokens(mine.text)


def test_a_placebo_repeats_and_varies(lessons: ExperiencePool):
    placebo = PlaceboControl().wrap(memory_of(pool=lessons), around(CONSTANTS))
    problem = CONSTANTS.train[0].problem
    shown = [placebo.prepare([problem], step=step)[0].text for step in range(30)]
    assert shown == [placebo.prepare([problem], step=step)[0].text for step in range(30)]
    assert len(set(shown)) >= 8  # of 15 other families


def test_who_draws_nothing_gets_no_placebo(lessons: ExperiencePool):
    problems = [example.problem for example in CONSTANTS.train[:60]]
    own = memory_of(pool=lessons, feedback_ratio=0.5)
    placebo = PlaceboControl().wrap(own, around(CONSTANTS))
    drawn = [bool(guidance) for guidance in placebo.prepare(problems, step=1)]
    assert drawn == [own.draws(problem, 1) for problem in problems]
    assert 10 < sum(drawn) < 50


def test_without_experience_of_other_families_there_is_no_placebo():
    pool, example = ExperiencePool(), CONSTANTS.train[0]
    same = [e.problem for e in CONSTANTS.train if e.problem.family == example.problem.family]
    pool.add([Experience(problem=p, principles=("bako C01",)) for p in same[1:4]])
    placebo = PlaceboControl().wrap(memory_of(pool=pool), around(CONSTANTS))
    assert not placebo.prepare([example.problem], step=1)[0]


def test_a_placebo_attempt_is_at_another_problem_and_as_long(attempts: ExperiencePool):
    placebo = PlaceboControl().wrap(memory_of("intra", attempts), around(CHAINS))
    problems = [example.problem for example in CHAINS.train[:80]]
    for problem, guidance in zip(problems, placebo.prepare(problems, step=4), strict=True):
        assert guidance.kind == "intra"
        assert guidance.attempt is not None
        assert guidance.attempt.problem.id != problem.id
        assert count_tokens(guidance.text) == count_tokens("check +3:1\\boxed{1}|")


def test_fresh_attempts_are_swapped_among_the_problems_of_a_step(attempts: ExperiencePool):
    placebo = PlaceboControl().wrap(memory_of("intra", attempts), around(CHAINS))
    problems = [example.problem for example in CHAINS.train[:4] for _ in range(2)]
    fresh = [Attempt(problem=p, text=f"+4:{i}\\boxed{{{i}}}") for i, p in enumerate(problems)]
    shown = placebo.prepare(problems, step=1, attempts=fresh)
    for problem, guidance in zip(problems, shown, strict=True):
        assert guidance.attempt in fresh
        assert guidance.attempt is not None
        assert guidance.attempt.problem.id != problem.id


def test_problems_without_a_family_are_each_their_own():
    assert is_mismatched(Problem(text="a"), Problem(text="b"))
    assert not is_mismatched(Problem(text="a"), Problem(text="a"))


def test_a_placebo_is_never_what_the_problem_would_have_seen_itself():
    """Without families, any other problem may have the very same lesson."""
    problems = [Problem(text=f"how many {noun} are {n}") for noun in ("a", "b") for n in range(8)]
    task = Task("plain", tuple(Example(problem=p, answer="1") for p in problems), ())
    pool = ExperiencePool()
    pool.add([Experience(problem=p, principles=(f"count {p.text[9]}",)) for p in problems])
    own = PoolAdapter(pool, guide=Guide(pool, prompts=TinyPrompts(), gamma=0.0), feedback_ratio=1.0)
    placebo = PlaceboControl().wrap(own, around(task))
    for step in range(4):
        real, given = own.prepare(problems, step=step), placebo.prepare(problems, step=step)
        assert all(real)
        assert any(given)
        for mine, other in zip(real, given, strict=True):
            assert not {*mine.lesson_ids} & {*other.lesson_ids}


# ---------------------------------------------------------------------- leaky


def test_a_leak_shows_the_answer_to_whoever_draws(lessons: ExperiencePool):
    own = memory_of(pool=lessons, feedback_ratio=0.5)
    leaky = LeakyControl().wrap(own, around(CONSTANTS))
    examples = CONSTANTS.train[:60]
    given = leaky.prepare([example.problem for example in examples], step=2)
    for example, guidance in zip(examples, given, strict=True):
        expected = f"hint {example.answer}|" if own.draws(example.problem, 2) else ""
        assert guidance.text == expected
    assert leaky.prepare([examples[0].problem], step=2, wanted=[False]) == [Guidance()]


def test_no_setting_of_the_trainer_names_a_control():
    names = {field.name for field in fields(LanpoConfig)}
    assert not [name for name in names if "leak" in name or "placebo" in name or "control" in name]


# ---------------------------------------------------------------------- pools


def rollout(step: int, *, right: bool = True, text: str = r"C09+14=\boxed{23}") -> Rollout:
    return Rollout(
        problem=CONSTANTS.train[0].problem,
        completion=text,
        reward=float(right),
        correct=right,
        step=step,
        group="a",
    )


def test_a_frozen_pool_admits_until_its_share_of_the_steps():
    admit: Callable[..., list[int]] = FrozenPoolControl(0.25).parts(around(CONSTANTS))["admission"]
    group = [rollout(9, right=False), rollout(9)]
    assert admit(group) == admit_correct()(group) == [1]
    assert admit([rollout(10)]) == []


def test_raw_solutions_are_kept_word_for_word_with_where_they_come_from():
    summarizer = RawSolutionsControl().parts(around(CONSTANTS))["summarizer"]
    pool = ExperiencePool()
    memory = memory_of(pool=pool, summarizer=summarizer)
    seen = memory.observe([rollout(7)], step=7)
    assert seen.counts == {"added": 1}
    [experience] = pool.store.read("experience")
    assert experience.principles == (r"C09+14=\boxed{23}",)
    assert experience.metadata.step == 7


def test_the_oracle_goes_by_the_label_alone():
    relevance = OracleControl().parts(around(CONSTANTS))["relevance"]
    one, same, other, none = (
        Problem(text=text, family=family)
        for text, family in (("a", "x"), ("b", "x"), ("a c", "y"), ("a d", None))
    )
    pairs = [(one, Experience(problem=p, principles=("p",))) for p in (same, other, none)]
    assert [*relevance.score(pairs)] == [1.0, 0.0, 0.0]
    assert [*relevance.score([(none, lesson_of(none))])] == [0.0]


def lesson_of(problem: Problem) -> Experience:
    return Experience(problem=problem, principles=("p",))


def test_no_control_changes_nothing(lessons: ExperiencePool):
    own = memory_of(pool=lessons)
    assert Control().parts(around(CONSTANTS)) == {}
    assert Control().wrap(own, around(CONSTANTS)) is own


def test_a_wrapped_memory_saves_tells_and_loads_like_the_one_inside(tmp_path: Path):
    own = memory_of(summarizer=RawSolutionsControl().parts(around(CONSTANTS))["summarizer"])
    wrapped = LeakyControl().wrap(own, around(CONSTANTS))
    assert wrapped.ask([rollout(1)], step=1) == []
    wrapped.ingest([rollout(1)], [], step=1)
    wrapped.save(tmp_path / "saved")
    before = own.pool.digest()
    wrapped.observe([rollout(2, text=r"C08+14=\boxed{22}")], step=2)
    assert own.pool.digest() != before
    wrapped.load(tmp_path / "saved")
    assert own.pool.digest() == before
