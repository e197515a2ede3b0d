"""A run that is stopped, by whatever means, goes on as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lanpo_memory import Experience, ExperiencePool, Problem, open_pool
from lanpo_memory.errors import ConfigError, PoolWriteError
from lanpo_rl.checkpoints import last_complete, save_state
from lanpo_rl.config import LanpoConfig
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.trainer import LanpoTrainer
from tests.rl.spies import Spy, few, pool_of, shown

MakeTrainer = Callable[..., Spy]
SAVED = {"kind": Spy, "save_strategy": "steps", "save_steps": 3, "max_steps": 6}


def checkpoint(folder: Path, step: int = 3) -> str:
    return str(folder / "out" / f"checkpoint-{step}")


def whole_and_resumed(
    make_trainer: MakeTrainer, tmp_path: Path, *, step: int = 3, **settings: Any
) -> tuple[Spy, Spy]:
    """The uninterrupted run, and one that goes on from its checkpoint with a new process' state."""
    given = {**SAVED, **settings}
    whole = make_trainer("recommended", **given)
    whole.train()
    torch.manual_seed(999)
    resumed = make_trainer("recommended", **{**given, "save_strategy": "no"})
    resumed.train(resume_from_checkpoint=checkpoint(tmp_path, step))
    return whole, resumed


def assert_same(whole: Spy, resumed: Spy) -> None:
    left = len(resumed.plans)
    assert left
    assert shown(resumed) == shown(whole)[-left:], "other guidance than without interruption"
    for name in ("completion_ids", "prompt_ids", "advantages"):
        for a, b in zip(resumed.batches, whole.batches[-left:], strict=True):
            assert torch.equal(a[name], b[name]), name
    assert pool_of(resumed).digest() == pool_of(whole).digest()
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


# ---------------------------------------------------------------------- the same run


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "distill", "group_layout": "shared", "feedback_ratio": 0.75},
        {"gate": "when_failing"},
        {"gate": "when_failing", "group_layout": "shared", "feedback_ratio": 0.5},
        {"mode": "both", "gate": "all_wrong", "reflect_on_right": 0.5},
        {"summarizer_weights": "frozen"},
        {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2},
        {"feedback_ratio_end": 0.2, "feedback_ratio_steps": 5},
    ],
    ids=str,
)
def test_a_resumed_run_is_the_uninterrupted_one(
    make_trainer: MakeTrainer, tmp_path: Path, settings: dict[str, Any]
):
    assert_same(*whole_and_resumed(make_trainer, tmp_path, **settings))


def test_also_where_every_problem_has_been_seen_before(make_trainer: MakeTrainer, tmp_path: Path):
    """The order of the problems in later epochs is that of the uninterrupted run, too."""
    task = few(make_hidden_constants(0), 8)
    whole, resumed = whole_and_resumed(
        make_trainer, tmp_path, task=task, step=6, save_steps=6, max_steps=10
    )
    problems = [[p.id for p in plan.problems_P] for plan in whole.plans]
    assert [[p.id for p in plan.problems_P] for plan in resumed.plans] == problems[6:]
    assert_same(whole, resumed)


def test_alarms_canary_and_window_go_on_where_they_were(make_trainer: MakeTrainer, tmp_path: Path):
    whole, resumed = whole_and_resumed(make_trainer, tmp_path, canary_every=1)
    ours, theirs = resumed._lanpo_state(), whole._lanpo_state()
    assert ours == theirs
    assert ours["canary"]["first"], "the canary was asked"
    assert len(ours["lessons"]["steps"]) > 0


# ---------------------------------------------------------------------- rows that came later


def test_what_was_learned_after_the_checkpoint_is_put_aside_and_other_namespaces_stay(
    make_trainer: MakeTrainer, tmp_path: Path
):
    url = str(tmp_path / "pool.db")
    other = Experience(problem=Problem(text="another run's"), principles=("Leave it alone.",))
    with open_pool(url, namespace="neighbour") as neighbour:
        neighbour.add([other])
        before = neighbour.digest()
    whole = make_trainer("recommended", **SAVED, pool=url)
    whole.train()
    at_six = {e.id for e in pool_of(whole).store.read("experience")}
    pool_of(whole).close()
    resumed = make_trainer("recommended", **{**SAVED, "save_strategy": "no"}, pool=url)
    resumed.train(resume_from_checkpoint=checkpoint(tmp_path))
    aside = tmp_path / "out" / "rewound-3.jsonl"
    again = ExperiencePool()
    again.restore(aside)
    kept = ExperiencePool()
    kept.restore(Path(checkpoint(tmp_path)) / "lanpo" / "pool.jsonl")
    ids = [{e.id for e in p.store.read("experience")} for p in (kept, again)]
    assert ids[1]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] >= at_six
    assert again.store.count("exposure") > 0
    with open_pool(url, namespace="neighbour") as neighbour:
        assert neighbour.digest() == before
    assert pool_of(resumed).digest() == pool_of(resumed).digest()
    pool_of(resumed).close()
    third = make_trainer("recommended", **{**SAVED, "save_strategy": "no"}, pool=url)
    third.train(resume_from_checkpoint=checkpoint(tmp_path))
    assert (tmp_path / "out" / "rewound-3-2.jsonl").is_file(), "the first file was written over"


# ---------------------------------------------------------------------- what is refused


def test_another_pool_is_refused_and_left_as_it_is(make_trainer: MakeTrainer, tmp_path: Path):
    make_trainer("recommended", **SAVED, pool=str(tmp_path / "pool.db")).train()
    foreign = tmp_path / "foreign.db"
    with open_pool(foreign) as pool:
        pool.add([Experience(problem=Problem(text="theirs"), principles=("Keep it.",))])
        before = pool.digest()
    resumed = make_trainer("recommended", **SAVED, pool=str(foreign))
    with pytest.raises(ConfigError, match=r"not the one saved in .* name the pool of that run"):
        resumed.train(resume_from_checkpoint=checkpoint(tmp_path))
    assert pool_of(resumed).digest() == before
    assert not list((tmp_path / "out").glob("rewound-*"))


def test_a_lost_pool_is_made_again_from_the_checkpoint(make_trainer: MakeTrainer, tmp_path: Path):
    whole = make_trainer("recommended", **SAVED, pool=str(tmp_path / "pool.db"))
    whole.train()
    resumed = make_trainer(
        "recommended", **{**SAVED, "save_strategy": "no"}, pool=str(tmp_path / "new.db")
    )
    resumed.train(resume_from_checkpoint=checkpoint(tmp_path))
    assert pool_of(resumed).digest() == pool_of(whole).digest()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 7}, "saved with seed 42, and this run has 7"),
        ({"mode": "both"}, "saved with mode 'inter'"),
        ({"pool_namespace": "other", "pool": "file"}, "saved with namespace"),
    ],
)
def test_another_seed_mode_or_namespace_is_refused(
    make_trainer: MakeTrainer, tmp_path: Path, change: dict[str, Any], reason: str
):
    pool = str(tmp_path / "pool.db")
    make_trainer("recommended", **SAVED, pool=pool).train()
    change = {**change, "pool": pool}
    resumed = make_trainer("recommended", **{**SAVED, **change})
    with pytest.raises(ConfigError, match=reason):
        resumed.train(resume_from_checkpoint=checkpoint(tmp_path))


def test_another_embedder_is_refused(make_trainer: MakeTrainer, tmp_path: Path):
    from lanpo_memory import PoolAdapter
    from lanpo_memory.guide import Guide
    from lanpo_memory.testing import HashingEmbedder
    from lanpo_rl.tiny import TinyPrompts

    def embedding(dimension: int) -> PoolAdapter:
        pool = ExperiencePool(embedder=HashingEmbedder(dimension))
        return PoolAdapter(pool, guide=Guide(pool, prompts=TinyPrompts()), seed=42)

    make_trainer("recommended", **SAVED, options={"memory": embedding(32)}).train()
    resumed = make_trainer("recommended", **SAVED, options={"memory": embedding(64)})
    with pytest.raises(ConfigError, match=r"was saved with (embedder|retriever)"):
        resumed.train(resume_from_checkpoint=checkpoint(tmp_path))


def test_a_checkpoint_of_plain_trl_is_refused_before_anything_is_loaded(
    make_trainer: MakeTrainer, tmp_path: Path
):
    folder = tmp_path / "out" / "checkpoint-3"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    trainer = make_trainer("recommended")
    with pytest.raises(ConfigError, match="holds no memory"):
        trainer.train(resume_from_checkpoint=str(folder))


# ---------------------------------------------------------------------- boundaries


def test_checkpoints_wait_for_the_end_of_a_generation(
    make_trainer: MakeTrainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    trainer = make_trainer(
        "recommended",
        per_device_train_batch_size=16,
        steps_per_generation=4,
        gradient_accumulation_steps=1,
        save_strategy="steps",
        save_steps=3,
        max_steps=13,
    )
    trainer.train()
    saved = sorted(int(p.name[11:]) for p in (tmp_path / "out").glob("checkpoint-*"))
    assert saved == [4, 8, 12, 13]
    assert "waits for the next generation boundary" in caplog.text
    state = json.loads((tmp_path / "out/checkpoint-13/lanpo/trainer.json").read_text())
    assert state["aligned"] is False
    with pytest.raises(ConfigError, match="between two generations"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-13"))


def test_resuming_with_rollouts_that_last_for_several_steps(
    make_trainer: MakeTrainer, tmp_path: Path
):
    settings = {
        "per_device_train_batch_size": 16,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 1,
        "num_iterations": 2,
        "save_steps": 4,
        "max_steps": 8,
    }
    assert_same(*whole_and_resumed(make_trainer, tmp_path, step=4, **settings))


def test_short_last_steps_of_an_epoch_do_not_hide_where_rollouts_end(
    make_trainer: MakeTrainer, tmp_path: Path
):
    """Three slices last one step and a half: the other half of a step comes at an epoch's end."""
    settings = {
        "task": few(make_hidden_constants(0), 6),
        "per_device_train_batch_size": 16,
        "steps_per_generation": 3,
        "gradient_accumulation_steps": 2,
        "save_steps": 3,
        "max_steps": 6,
    }
    trainer = make_trainer("recommended", **{**SAVED, **settings})
    trainer.train()
    states = [
        json.loads(path.read_text())
        for path in (tmp_path / "out").glob("checkpoint-*/lanpo/trainer.json")
    ]
    generations = [plan.step for plan in trainer.plans]
    assert states
    for state in states:
        assert state["aligned"] is (state["step"] in {*generations, 6})


def test_resuming_passes_over_a_last_checkpoint_that_nothing_can_go_on_from(
    make_trainer: MakeTrainer, tmp_path: Path
):
    sliced = {"per_device_train_batch_size": 16, "steps_per_generation": 2, "save_steps": 2}
    sliced["gradient_accumulation_steps"] = 1
    trainer = make_trainer("recommended", **{**SAVED, **sliced, "max_steps": 5})
    trainer.train()
    assert last_complete(tmp_path / "out").name == "checkpoint-4"


def test_checkpoints_that_cannot_wait_are_refused(make_trainer: MakeTrainer):
    sliced: dict[str, Any] = {"per_device_train_batch_size": 16, "steps_per_generation": 2}
    sliced |= {"gradient_accumulation_steps": 1, "eval_strategy": "steps", "eval_steps": 3}
    held_out = make_hidden_constants(0).dataset("held_out").select(range(2))
    given = {"eval_dataset": held_out}
    for more, reason in (
        ({"save_strategy": "best", "metric_for_best_model": "reward"}, "save_strategy='best'"),
        (
            {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 3},
            "load_best_model_at_end needs",
        ),
    ):
        with pytest.raises(ConfigError, match=reason):
            make_trainer("recommended", options=given, **sliced, **more)


def test_streams_resume_within_their_first_epoch(make_trainer: MakeTrainer, tmp_path: Path):
    rows = make_hidden_constants(0).dataset("train").to_iterable_dataset()
    assert_same(*whole_and_resumed(make_trainer, tmp_path, options={"train_dataset": rows}))
    short = make_hidden_constants(0).dataset("train").select(range(12)).to_iterable_dataset()
    settings = {**SAVED, "options": {"train_dataset": short}, "save_steps": 5}
    make_trainer("recommended", **settings).train()
    resumed = make_trainer("recommended", **settings)
    with pytest.raises(ConfigError, match="within its first epoch only"):
        resumed.train(resume_from_checkpoint=checkpoint(tmp_path, 5))


def test_a_run_does_not_rewind_what_a_later_one_has_learned(
    make_trainer: MakeTrainer, tmp_path: Path
):
    pool = str(tmp_path / "pool.db")
    first = make_trainer("recommended", **SAVED, pool=pool)
    first.train()
    pool_of(first).close()
    second = make_trainer("recommended", **{**SAVED, "save_strategy": "no"}, pool=pool)
    second.train()
    before = pool_of(second).digest()
    pool_of(second).close()
    again = make_trainer("recommended", **SAVED, pool=pool)
    with pytest.raises(ConfigError, match="another run has begun in it since"):
        again.train(resume_from_checkpoint=checkpoint(tmp_path))
    assert pool_of(again).digest() == before


def test_another_gamma_is_refused(make_trainer: MakeTrainer, tmp_path: Path):
    make_trainer("recommended", **SAVED).train()
    resumed = make_trainer("recommended", **SAVED, gamma=0.9)
    with pytest.raises(ConfigError, match="was saved with gamma"):
        resumed.train(resume_from_checkpoint=checkpoint(tmp_path))


def test_half_of_a_checkpoint_is_not_taken_for_one(make_trainer: MakeTrainer, tmp_path: Path):
    trainer = make_trainer("recommended", **SAVED)
    trainer.train()
    folder = Path(checkpoint(tmp_path, 6))
    # Saved once more over what is there, and killed after the memory was written.
    save_state(folder, trainer.memory, trainer._lanpo_state())
    assert not (folder / "trainer_state.json").exists()
    assert last_complete(tmp_path / "out").name == "checkpoint-3"
    with pytest.raises(ConfigError, match="not written to its end"):
        trainer.train(resume_from_checkpoint=str(folder))


def test_a_save_that_fails_leaves_the_checkpoint_that_was_there(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = make_trainer("recommended", **SAVED)
    trainer.train()
    folder = Path(checkpoint(tmp_path, 6))
    before = {p.name: p.read_bytes() for p in (folder / "lanpo").iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PoolWriteError):
        save_state(folder, trainer.memory, trainer._lanpo_state())
    assert {p.name: p.read_bytes() for p in (folder / "lanpo").iterdir()} == before
    assert last_complete(tmp_path / "out").name == "checkpoint-6"


# ---------------------------------------------------------------------- disks and kills


def test_a_full_disk_at_a_checkpoint_costs_this_checkpoint_and_nothing_else(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pool = str(tmp_path / "pool.db")
    lucky = make_trainer("recommended", **{**SAVED, "save_strategy": "no"})
    lucky.train()
    undisturbed = pool_of(lucky).digest()
    trainer = make_trainer("recommended", **{**SAVED, "save_total_limit": 1}, pool=pool)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        if "checkpoint-6" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            calls.append(descriptor)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PoolWriteError, match=r"no checkpoint at step 6: .* No space left"):
        trainer.train()
    assert calls
    assert pool_of(trainer).digest() == undisturbed, "a row was lost"
    monkeypatch.setattr(os, "fsync", real)
    assert last_complete(tmp_path / "out").name == "checkpoint-3"
    pool_of(trainer).close()
    resumed = make_trainer("recommended", **{**SAVED, "save_strategy": "no"}, pool=pool)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6


def test_the_newest_whole_checkpoint_is_the_one_to_resume_from(tmp_path: Path):
    for step, files in ((2, ("a", "b")), (10, ("a", "b")), (12, ("a",)), (14, ("b",))):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "lanpo").mkdir(parents=True)
        for file in files:
            name = "trainer_state.json" if file == "a" else "lanpo/trainer.json"
            (folder / name).write_text("{}")
    assert last_complete(tmp_path).name == "checkpoint-10"
    with pytest.raises(ConfigError, match="no whole checkpoint"):
        last_complete(tmp_path / "nowhere")


RUN = Path(__file__).with_name("killed_run.py")


def run(folder: Path, *arguments: str, kill_at: int | None = None) -> dict[str, Any] | None:
    """A training process of its own; with `kill_at` it kills itself with -9 in that step."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(RUN.parents[2])}
    command = [sys.executable, str(RUN), str(folder), *arguments]
    if kill_at is not None:
        environment["KILL_AT"] = str(kill_at)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if kill_at is not None:
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        return None
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [4, 5])
def test_kill_9_and_resume_gives_the_pool_and_the_guidance_of_the_uninterrupted_run(
    tmp_path: Path, kill_at: int
):
    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", kill_at=kill_at)
    resumed = run(tmp_path / "killed", "--resume")
    assert whole is not None
    assert resumed is not None
    assert resumed["digest"] == whole["digest"]
    assert resumed["weights"] == whole["weights"]
    later = [step for step in whole["guidance"] if step["step"] >= 3]
    assert resumed["guidance"] == later
    assert (tmp_path / "killed" / "out" / "rewound-3.jsonl").is_file()


def test_nothing_of_a_config_survives_into_the_next(make_config: Callable[..., LanpoConfig]):
    assert make_config("grpo").ratio == 0.0
    linear = make_config("recommended", feedback_ratio_end=0.0, feedback_ratio_steps=10).ratio
    assert callable(linear)
    assert [linear(0), linear(5), linear(20)] == [1.0, 0.5, 0.0]
    assert issubclass(Spy, LanpoTrainer)


def test_a_password_of_the_pool_is_in_no_checkpoint_and_beside_no_model(
    make_trainer: MakeTrainer, tmp_path: Path
):
    address = "postgresql://me:s3cret@host/db"
    trainer = make_trainer("recommended", output_dir=str(tmp_path), max_steps=1)
    trainer.args.pool = address  # it is open already
    trainer.train()
    trainer._save_checkpoint(trainer.model, None)
    trainer.save_model(str(tmp_path / "model"))
    assert trainer.args.pool == address
    settings = sorted(tmp_path.rglob("training_args.bin"))
    assert [path.parent.name for path in settings] == ["checkpoint-1", "model"]
    for path in settings:
        assert torch.load(path, weights_only=False).pool == "postgresql://me:***@host/db"
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in held if b"s3cret" in path.read_bytes()]
