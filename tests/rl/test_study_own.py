"""A study on a file and a model that somebody else made."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_rl.study.own import ModelPolicy, check_on_your_own, on_your_own
from lanpo_rl.study.planning import plan
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.run import run_arm
from lanpo_rl.study.running.waiting import check_jobs
from lanpo_rl.study.studies import SEEDING, Study
from lanpo_rl.tiny import load_policy, load_tokenizer, save_policy
from tests.rl.small_study import STUDY

ROOT = Path(__file__).parents[2]
ON_A_CPU = {
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "max_completion_length": 6,
    "summary_max_tokens": 6,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_generations": 4,
}


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"{n} + {n}?", "answer": f"Add them.\n#### {2 * n}"} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def on_sums(sums: Path, **changes: Any) -> Study:
    """A study of the shipped policy on the sums, as a CPU can make it."""
    given: dict[str, Any] = {
        "model": str(save_policy(sums.parent / "model", load_policy())),
        "held_out": 3,
        "problem_column": "question",
        "settings": ON_A_CPU,
        "answer_tokens": 6,
        **changes,
    }
    return on_your_own(STUDY, data=sums, **given)


def test_arms_are_those_of_the_study_at_ones_own_learning_rate(sums: Path):
    study = on_your_own(SEEDING, model="mine", data=sums, learning_rate=3e-6, steps=7)
    [part] = study.parts
    assert study.arms == ("grpo", "recommended")  # not those that begin elsewhere
    assert {arm.learning_rate for arm in part.arms} == {3e-6}
    assert (part.steps, part.subject.name, part.subject.policy) == (7, "sums", ModelPolicy("mine"))
    still = on_your_own(STUDY, model="mine", data=sums).parts[0].arms[1]
    assert (still.name, still.learning_rate) == ("memory_only", 0.0)


def test_no_policy_is_made_and_a_run_knows_its_model_and_its_file(sums: Path, tmp_path: Path):
    def fingerprints(model: str, data: Path) -> list[str]:
        jobs = plan(on_your_own(STUDY, model=model, data=data), seeds=1, arms=["grpo"])
        assert [job.key for job in jobs] == [f"{data.stem}/grpo/seed-0"]
        return [job.fingerprint for job in jobs]

    assert fingerprints("mine", sums) == fingerprints("mine", sums)
    assert fingerprints("mine", sums) != fingerprints("other", sums)
    assert fingerprints("mine", sums) != fingerprints("mine", tmp_path / "others.jsonl")
    before = fingerprints("mine", sums)
    sums.write_text(sums.read_text().replace("7 + 7", "7 + 8"))
    assert fingerprints("mine", sums) != before


def test_files_of_the_home_folder_and_whole_folders_count_by_what_is_in_them(
    sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fingerprint(data: Path) -> str:
        study = on_your_own(STUDY, model="mine", data=data)
        return plan(study, seeds=1, arms=["grpo"])[0].fingerprint

    monkeypatch.setenv("HOME", str(tmp_path))
    at_home = Path("~") / sums.name
    before = [fingerprint(path) for path in (at_home, tmp_path)]
    assert before == [fingerprint(path) for path in (at_home, tmp_path)]
    sums.write_text(sums.read_text().replace("7 + 7", "7 + 8"))
    assert not {*before} & {fingerprint(path) for path in (at_home, tmp_path)}


@pytest.mark.parametrize(
    ("file", "name"),
    [("übung.jsonl", "bung"), (".hidden", "hidden"), ("数学.jsonl", "data")],
)
def test_a_file_of_any_name_makes_a_study(tmp_path: Path, file: str, name: str):
    study = on_your_own(STUDY, model="mine", data=tmp_path / file)
    assert study.parts[0].subject.name == name
    check_jobs(plan(study, seeds=1))


def test_another_process_finds_the_runs_of_this_one(sums: Path):
    def found(arms: list[str]) -> str:
        jobs = plan(on_your_own(STUDY, model="mine", data=sums), seeds=1, arms=arms)
        return "".join(f"{job.key} {job.fingerprint}\n" for job in jobs)

    code = f"""
from pathlib import Path
from tests.rl.small_study import STUDY
from lanpo_rl.study.own import on_your_own
from lanpo_rl.study.planning import plan
study = on_your_own(STUDY, model="mine", data=Path({str(sums)!r}))
print(study.name)
for job in plan(study, seeds=1, arms=["grpo"]):
    print(job.key, job.fingerprint)
"""
    command = [sys.executable, "-c", code]
    there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    name = on_your_own(STUDY, model="mine", data=sums).name
    assert there == f"{name}\n{found(['grpo'])}"


def test_each_model_and_each_file_has_a_study_of_its_own(sums: Path, tmp_path: Path):
    other = tmp_path / "other" / sums.name
    studies = [
        on_your_own(STUDY, model=model, data=data)
        for model, data in (("mine", sums), ("yours", sums), ("mine", other))
    ]
    assert len({study.name for study in studies} | {STUDY.name}) == 4
    [part] = on_your_own(STUDY, model="mine", data=tmp_path / "my own sums.jsonl").parts
    assert (part.subject.name, part.subject.label) == ("my-own-sums", "my own sums")


def test_a_learning_rate_of_nothing_is_refused(sums: Path):
    with pytest.raises(ConfigError, match="must be above 0, got 0"):
        on_your_own(STUDY, model="mine", data=sums, learning_rate=0.0)


def test_a_model_that_is_not_there_is_named(sums: Path, tmp_path: Path):
    study = on_your_own(
        STUDY, model=str(tmp_path / "none"), data=sums, held_out=3, problem_column="question"
    )
    [part] = study.parts
    with pytest.raises(InvalidInputError, match="there is no model in"):
        part.subject.policy.tokenizer()
    with pytest.raises(InvalidInputError, match="there is no model in"):
        run_arm(part.arms[2], part.subject, seed=0, steps=1, folder=tmp_path / "run")


def test_it_trains_and_asks_every_mode(sums: Path, tmp_path: Path):
    study = on_sums(sums, answer_marker="####")
    check_on_your_own(study)
    [part] = study.parts
    subject = replace(part.subject, samples=1)
    result = run_arm(part.arms[-1], subject, seed=0, steps=1, folder=tmp_path / "run")
    assert (result.arm, result.task, result.policy) == ("recommended", "sums", "model")
    assert [point.step for point in result.curve] == [0, 1]
    assert {*result.final["held_out"]} == {*subject.modes}
    bare = result.final["held_out"]["zero_shot"]
    assert (bare.problems, bare.samples, bare.missing) == (3, 1, 0)


def test_what_could_not_be_asked_is_missing_and_not_wrong(sums: Path, tmp_path: Path):
    [part] = on_sums(sums, answer_tokens=200).parts
    result = run_arm(part.arms[0], part.subject, seed=0, steps=0, folder=tmp_path / "run")
    asked = result.final["held_out"]
    checked = asked["self_correct"]
    assert (checked.mean, checked.pass_at, checked.samples) == (None, {}, 4)
    assert checked.missing == 3 * 4
    assert ArmResult.from_json(json.loads(json.dumps(result.as_json()))).final["held_out"] == asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {}}, "there is no GPU here.*use_cpu"),
        ({"answer_tokens": 300}, "reads 256 tokens, .* answers may have 300"),
        ({"held_out": 12}, "leaves no problem"),
        (
            {"held_out": 9, "settings": {**ON_A_CPU, "per_device_train_batch_size": 16}},
            "what is left of sums to train on holds 3 problems, but one batch takes 4",
        ),
        ({"model": "./none"}, "there is no model in ./none"),
    ],
    ids=str,
)
def test_what_would_make_every_run_crash_is_said_before_any(
    sums: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises((ConfigError, InvalidInputError), match=message):
        check_on_your_own(on_sums(sums, **changes))


def test_a_saved_policy_is_read_with_its_own_tokenizer(tmp_path: Path):
    policy = ModelPolicy(str(save_policy(tmp_path / "model")))
    text = "bako bako bako 8_6"
    assert policy.tokenizer().tokenize(text) == load_tokenizer().tokenize(text)
    assert policy.name == "model"
