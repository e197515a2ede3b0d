"""A study on a file and a model that somebody else made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_rl.study.own import ModelPolicy, on_your_own
from lanpo_rl.study.planning import plan
from lanpo_rl.study.run import run_arm
from lanpo_rl.study.studies import SEEDING
from lanpo_rl.tiny import load_policy, load_tokenizer, save_policy
from tests.rl.small_study import STUDY

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


def test_a_learning_rate_of_nothing_is_refused(sums: Path):
    with pytest.raises(ConfigError, match="must be above 0, got 0"):
        on_your_own(STUDY, model="mine", data=sums, learning_rate=0.0)


def test_a_model_that_is_not_there_is_named(sums: Path, tmp_path: Path):
    study = on_your_own(
        STUDY, model=str(tmp_path / "none"), data=sums, held_out=3, problem_column="question"
    )
    [part] = study.parts
    with pytest.raises(InvalidInputError, match="cannot load the model"):
        part.subject.policy.tokenizer()
    with pytest.raises(InvalidInputError, match="there is no model in"):
        run_arm(part.arms[2], part.subject, seed=0, steps=1, folder=tmp_path / "run")


def test_it_trains_and_asks_every_mode(sums: Path, tmp_path: Path):
    model = save_policy(tmp_path / "model", load_policy())
    study = on_your_own(
        STUDY,
        model=str(model),
        data=sums,
        held_out=3,
        problem_column="question",
        answer_marker="####",
        settings=ON_A_CPU,
    )
    [part] = study.parts
    subject = replace(part.subject, answer_tokens=6, samples=1)
    result = run_arm(part.arms[-1], subject, seed=0, steps=1, folder=tmp_path / "run")
    assert (result.arm, result.task, result.policy) == ("recommended", "sums", "model")
    assert [point.step for point in result.curve] == [0, 1]
    assert {*result.final["held_out"]} == {*subject.modes}
    assert result.final["held_out"]["zero_shot"].problems == 3


def test_a_saved_policy_is_read_with_its_own_tokenizer(tmp_path: Path):
    policy = ModelPolicy(str(save_policy(tmp_path / "model")))
    text = "bako bako bako 8_6"
    assert policy.tokenizer().tokenize(text) == load_tokenizer().tokenize(text)
    assert policy.name == "model"
