"""From a study to jobs, and from a job to a result."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.pool import open_pool
from lanpo_memory.types import SolveMode
from lanpo_rl.seeding.tiny_skills.recipes import CONSTANTS
from lanpo_rl.study import looking
from lanpo_rl.study.arms import GRPO, RECOMMENDED, Arm, arm_config
from lanpo_rl.study.controls import Control, PlaceboControl
from lanpo_rl.study.jobs import Job
from lanpo_rl.study.planning import plan, run_key
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.study.run import run_arm
from lanpo_rl.study.studies import STUDIES, Part, Study
from lanpo_rl.study.subjects import CHAINS_SUBJECT, INVERSE_SUBJECT
from lanpo_rl.study.whole import run_study
from lanpo_rl.tasks import Task, make_hidden_constants
from lanpo_rl.tasks.chains import draw_chain, marked_text, walk
from lanpo_rl.tasks.inverse import Guess, check_text, draw_equation
from tests.rl.small_study import STUDY, SUBJECT


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_study_has_jobs_that_differ_and_can_be_told_apart(study: Study):
    jobs = plan(study)
    assert len({job.key for job in jobs}) == len(jobs)
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    assert {needed for job in jobs for needed in job.needs} <= {job.key for job in jobs}
    runs = sum(len(part.arms) for part in study.parts) * study.seeds
    assert sum(job.result for job in jobs) == runs


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_arm_of_a_study_has_valid_settings(study: Study, tmp_path: Path):
    for part in study.parts:
        for arm in part.arms:
            config = arm_config(arm, part.subject, seed=1, steps=40, folder=tmp_path)
            assert config.learning_rate == arm.learning_rate


def test_studies_have_names_of_their_own():
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    asked = {"quick", "paper", "gamma", "ratio", "seeding", "pool", "objective", "gating", "size"}
    assert asked <= {study.name for study in STUDIES}


def test_seeds_go_round_by_round_so_that_what_ends_early_compares_all_arms():
    jobs = plan(STUDY, seeds=2)
    assert [job.key.rpartition("-")[2] for job in jobs] == ["0"] * 6 + ["1"] * 6
    assert jobs[0].key == run_key(STUDY.parts[0], "no_rl", 0) == "small/no_rl/seed-0"


def test_an_arm_brings_along_what_it_is_measured_by():
    keys = [job.key for job in plan(STUDY, seeds=1, arms=["grpo_matched"])]
    assert keys == ["small/grpo_matched/seed-0", "small/recommended/seed-0"]
    matched, recommended = plan(STUDY, seeds=1, arms=["grpo_matched"])
    assert matched.needs == (recommended.key,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arms": ["recomended"]}, "small has no arm 'recomended'; there are no_rl, memory_only"),
        ({"subjects": ["large"]}, "small has no subject 'large'; there are small"),
        ({"seeds": 0}, "at least one seed, got 0"),
    ],
    ids=str,
)
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        plan(STUDY, **settings)


def test_arms_that_the_subjects_do_not_have_are_refused():
    other = replace(STUDY.parts[0], subject=replace(SUBJECT, name="other"), arms=(GRPO,))
    study = replace(STUDY, parts=(STUDY.parts[0], other))
    assert plan(study, seeds=1, arms=["recommended"])  # not on both, but on one
    with pytest.raises(ConfigError, match=r"none of these arms .*; there are other: grpo"):
        plan(study, arms=["recommended"], subjects=["other"])


def test_an_arm_without_the_one_that_it_is_matched_to_is_refused():
    part = STUDY.parts[0]
    alone = replace(part, arms=tuple(arm for arm in part.arms if arm != RECOMMENDED))
    with pytest.raises(ConfigError, match="grpo_matched on small has the tokens of recommended"):
        plan(replace(STUDY, parts=(alone,)))


def test_two_policies_of_one_name_are_refused():
    arms = (
        GRPO.but("once", "x", policy=CONSTANTS),
        GRPO.but("again", "x", policy=replace(CONSTANTS, steps=3)),
    )
    study = replace(STUDY, parts=(replace(STUDY.parts[0], arms=arms),))
    with pytest.raises(ConfigError, match="two policies are called 'constants': rename"):
        plan(study)
    assert len([job for job in plan(study, seeds=1, arms=["again"]) if not job.result]) == 1


def test_a_study_can_be_run_subject_by_subject():
    other = replace(STUDY.parts[0], subject=replace(SUBJECT, name="other"))
    study = replace(STUDY, parts=(STUDY.parts[0], other))
    keys = [job.key for job in plan(study, seeds=1, arms=["grpo"], subjects=["other"])]
    assert keys == ["other/grpo/seed-0"]
    assert len(plan(study, seeds=1)) == 2 * len(plan(study, seeds=1, subjects=["small"]))


def job_of(arm: Arm, part: Part | None = None) -> Job:
    part = part or replace(STUDY.parts[0], arms=(arm,))
    [job] = [job for job in plan(replace(STUDY, parts=(part,)), seeds=1) if job.result]
    return job


@pytest.mark.parametrize(
    "other",
    [
        RECOMMENDED.but("recommended", "x", feedback_ratio=0.5),
        RECOMMENDED.but("recommended", "x", learning_rate=1e-4),
        RECOMMENDED.but("recommended", "x", schedule="constant"),
        RECOMMENDED.but("recommended", "x", steps=7),
        RECOMMENDED.but("recommended", "x", control=PlaceboControl()),
        RECOMMENDED.but("recommended", "x", policy=CONSTANTS),
        RECOMMENDED.but("recommended", "x", preset="paper"),
    ],
    ids=lambda arm: repr(arm)[-60:],
)
def test_a_run_of_other_settings_has_another_fingerprint(other: Arm):
    assert job_of(other).fingerprint != job_of(RECOMMENDED).fingerprint


def test_a_file_without_a_guard_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(multiprocessing.current_process(), "name", "lanpo-study-small/grpo/seed-0")
    with pytest.raises(ConfigError, match='under if __name__ == "__main__":'):
        run_study(STUDY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Stateful(Control):
    """No dataclass of its own: its text does not say what it was given."""

    def __init__(self, amount: int) -> None:
        object.__setattr__(self, "amount", amount)


class Factory:
    def __init__(self, families: int) -> None:
        self.families = families

    def __repr__(self) -> str:
        return f"Factory({self.families})"

    def make(self, seed: int) -> Task:
        return make_hidden_constants(seed, families=self.families)


def test_what_a_control_or_a_maker_of_tasks_was_given_counts():
    def controlled(amount: int) -> str:
        return job_of(RECOMMENDED.but("recommended", "x", control=Stateful(amount))).fingerprint

    def made(families: int) -> str:
        subject = replace(SUBJECT, make=Factory(families).make)
        return job_of(GRPO, Part(subject, (GRPO,))).fingerprint

    assert controlled(1) == controlled(1) != controlled(2)
    assert made(4) == made(4) != made(5)


def test_a_run_on_other_terms_has_another_fingerprint_and_the_same_one_the_same():
    part = replace(STUDY.parts[0], arms=(GRPO,))
    once = job_of(GRPO, part).fingerprint
    assert job_of(GRPO, part).fingerprint == once
    assert job_of(GRPO, replace(part, steps=61)).fingerprint != once
    assert job_of(GRPO, replace(part, subject=replace(SUBJECT, samples=3))).fingerprint != once
    assert job_of(GRPO.but("grpo", "renamed"), part).fingerprint == once  # labels do not count


def test_a_matched_run_is_made_anew_with_the_one_it_is_matched_to():
    def matched_to(rate: float) -> str:
        part = STUDY.parts[0]
        arms = tuple(replace(a, learning_rate=rate) if a == RECOMMENDED else a for a in part.arms)
        jobs = plan(replace(STUDY, parts=(replace(part, arms=arms),)), seeds=1)
        return next(job.fingerprint for job in jobs if "grpo_matched" in job.key)

    assert matched_to(RECOMMENDED.learning_rate) == matched_to(RECOMMENDED.learning_rate)
    assert matched_to(1e-6) != matched_to(RECOMMENDED.learning_rate)


def test_a_policy_is_made_before_the_run_that_begins_with_it():
    part = replace(STUDY.parts[0], arms=(GRPO.but("taught", "x", policy=CONSTANTS),))
    policy, run = plan(replace(STUDY, parts=(part,)), seeds=1)
    assert not policy.result
    assert policy.key == "policies/constants"
    assert run.needs == (policy.key,)
    other = replace(CONSTANTS, steps=3)
    [again, _] = plan(
        replace(STUDY, parts=(replace(part, arms=(GRPO.but("t", "x", policy=other),)),)), seeds=1
    )
    assert again.fingerprint != policy.fingerprint


# ---------------------------------------------------------------------- real ones


def test_an_arm_is_asked_with_the_settings_of_retrieval_that_it_trained_with(tmp_path: Path):
    arm = RECOMMENDED.but("two", "x", experiences_per_prompt=2, shortlist=3, gamma=0.3)
    config = arm_config(arm, SUBJECT, seed=0, steps=4, folder=tmp_path)
    guide = looking.guide_of(open_pool("memory:"), make_hidden_constants(0), config)
    assert (guide.selection.experiences, guide.selection.shortlist, guide.gamma) == (2, 3, 0.3)
    assert guide.selection.weight == "utility"


def work(job: Job, root: Path) -> ArmResult:
    """Do a job as the runner does it."""
    folder = root / "runs" / job.key
    folder.mkdir(parents=True)
    result: Mapping[str, Any] = job.work(folder, lambda share, what: None)
    text = json.dumps({"result": dict(result)})
    (folder / "result.json").write_text(text, encoding="utf-8")
    return ArmResult.from_json(json.loads(text)["result"])


def test_a_policy_that_is_not_trained_is_asked_in_every_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    [job] = plan(STUDY, seeds=1, arms=["no_rl"])
    spared = work(job, tmp_path / "spared")
    monkeypatch.setattr(looking, "_WITHOUT_POOL", {})  # nothing is taken over from the bare modes
    result = work(job, tmp_path / "asked")
    assert result.final == spared.final
    [point] = result.curve
    assert (point.step, point.tokens, result.log) == (0, 0, [])
    assert {*result.final} == {"held_out", "shifted"}
    for modes in result.final.values():
        assert {*modes} == {*get_args(SolveMode)}  # also those that nobody taught it
        # Its pool is empty: retrieval has nothing to show, and the same samples are drawn.
        assert modes["retrieval"] == modes["zero_shot"]
        assert modes["retrieval+self_correct"] == modes["self_correct"]
        assert (modes["zero_shot"].problems, modes["zero_shot"].samples) == (8, 2)
        assert 0 <= modes["zero_shot"].mean <= modes["zero_shot"].pass_at[2] <= 1


def test_a_policy_is_made_by_its_job_and_found_by_the_run(tmp_path: Path):
    short = replace(CONSTANTS, steps=2, batch_size=4)
    arm = GRPO.but("taught", "x", policy=short, steps=0)
    study = replace(STUDY, parts=(replace(STUDY.parts[0], arms=(arm,)),))
    policy, run = plan(study, seeds=1)
    folder = tmp_path / "runs" / policy.key
    folder.mkdir(parents=True)
    told: list[float] = []
    assert policy.work(folder, lambda share, what: told.append(share))["policy"] == "constants"
    assert told == [0.5, 1.0]
    assert short.is_made(tmp_path / "policies")
    with pytest.raises(ConfigError, match="remove runs/policies/constants and"):
        short.load(tmp_path)
    result = work(run, tmp_path)
    assert (result.policy, result.parameters) == ("constants", short.parameters)


@pytest.mark.parametrize("schedule", ["constant", "warmup_stable_decay"])
def test_a_match_is_reached_where_the_other_arm_writes_half_as_much_again(
    tmp_path: Path, schedule: str
):
    arms = tuple(
        replace(arm, schedule=schedule) if arm.preset == "grpo" else arm
        for arm in STUDY.parts[0].arms
    )
    study = replace(STUDY, parts=(replace(STUDY.parts[0], steps=4, arms=arms),))
    matched, _ = plan(study, seeds=1, arms=["grpo_matched"])
    [grpo] = plan(study, seeds=1, arms=["grpo"])
    alone = work(grpo, tmp_path)
    a_step = alone.last.tokens / 4
    target = Point(4, round(6 * a_step), 1.0, 0.5, 0.5, 1.0, None)
    other = tmp_path / "runs" / matched.needs[0]
    other.mkdir(parents=True)
    told = {"result": ArmResult("recommended", "", 0, {}, [target]).as_json()}
    (other / "result.json").write_text(json.dumps(told))
    got = work(matched, tmp_path)
    assert got.last.step in (6, 7)
    assert target.tokens <= got.last.tokens < target.tokens + 1.5 * a_step
    # Its learning rate goes as that of the arm it is like, and stays where that one ended.
    rates = [row["learning_rate"] for row in got.log]
    assert rates[:4] == [row["learning_rate"] for row in alone.log]
    assert {round(rate / GRPO.learning_rate, 6) for rate in rates[5:]} == {
        1.0 if schedule == "constant" else 0.05
    }


def test_a_task_that_is_smaller_than_a_step_is_refused(tmp_path: Path):
    small = SUBJECT.make(0)
    subject = replace(SUBJECT, make=lambda seed: replace(small, train=small.train[:1]))
    with pytest.raises(InvalidInputError, match="holds 1 problems, but one batch takes 2; add"):
        run_arm(GRPO, subject, seed=0, steps=1, folder=tmp_path)


def test_seconds_leave_out_what_fills_a_pool_that_is_never_read(tmp_path: Path):
    part = replace(STUDY.parts[0], steps=3)
    results = {
        name: work(plan(replace(STUDY, parts=(part,)), seeds=1, arms=[name])[0], tmp_path)
        for name in ("grpo", "recommended")
    }
    for name, spared in (("grpo", True), ("recommended", False)):
        stages = results[name].stage_seconds
        filling = stages["summarise"] + stages["persist"]
        assert filling > 0
        assert results[name].last.seconds == pytest.approx(
            sum(stages.values()) - spared * filling, abs=0.1
        )


@pytest.mark.slow
def test_token_matched_means_within_two_percent(tmp_path: Path):
    matched, recommended = plan(STUDY, seeds=1, arms=["grpo_matched"])
    target, got = work(recommended, tmp_path), work(matched, tmp_path)
    assert target.last.summary_tokens > 0
    assert got.last.summary_tokens == 0
    assert got.last.tokens == pytest.approx(target.last.tokens, rel=0.02)
    assert got.last.tokens >= target.last.tokens
    assert got.last.step > target.last.step


def test_the_longest_check_fits_into_a_completion_and_longer_ones_into_an_answer():
    rng = random.Random(0)
    longest: dict[str, list[str]] = {"inverse": [], "chains": []}
    for extra in (0, 2):  # the shifted problems have two operators more
        equation = draw_equation(rng, 3 + extra)
        longest["inverse"].append(check_text(equation, Guess(4, 1)))
        steps = walk(draw_chain(rng, 4 + extra))
        longest["chains"].append(marked_text(steps, steps))
    for subject in (INVERSE_SUBJECT, CHAINS_SUBJECT):
        tokenizer = subject.policy.tokenizer()
        own, shifted = (
            len(tokenizer.encode(text, add_special_tokens=False)) + 1  # with its end
            for text in longest[subject.name]
        )
        assert own <= subject.settings["max_completion_length"]
        assert shifted <= subject.answer_tokens
