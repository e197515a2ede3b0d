"""A small trainer on the built-in task, and the `lanpo` command as the shell would call it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PrinterCallback

from lanpo_rl.cli import main
from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, Task, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer
from tests.rl.commands import Lanpo, Ran

MakeConfig = Callable[..., LanpoConfig]
MakeTrainer = Callable[..., LanpoTrainer]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def lanpo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lanpo:
    """Run the `lanpo` command, on a screen of 160 columns."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lanpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    def make(preset: str = "recommended", **settings: Any) -> LanpoConfig:
        small: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 4,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 32,
            "num_generations": 8,
            "max_completion_length": 16,
            "summary_max_tokens": 8,
            "gamma": LEXICAL_GAMMA,
            "feedback_ratio": 0.0 if preset == "grpo" else 1.0,
            "use_cpu": True,
            "bf16": False,
            "activation_checkpointing": False,
            "dataloader_pin_memory": False,
            "logging_steps": 1,
            "disable_tqdm": True,
            "report_to": [],
            "save_strategy": "no",
        }
        return LanpoConfig.preset(preset, **{**small, **settings})

    return make


@pytest.fixture
def make_trainer(make_config: MakeConfig) -> MakeTrainer:
    def make(
        preset: str = "recommended",
        *,
        task: Task | None = None,
        kind: type[LanpoTrainer] = LanpoTrainer,
        options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> LanpoTrainer:
        chosen = make_hidden_constants(0) if task is None else task
        given: dict[str, Any] = {
            "model": load_policy(),
            "reward_funcs": as_reward(chosen.reward),
            "args": make_config(preset, **settings),
            "train_dataset": chosen.dataset("train"),
            "processing_class": load_tokenizer(),
            "prompts": TinyPrompts(),
        }
        trainer = kind(**{**given, **(options or {})})
        trainer.remove_callback(PrinterCallback)
        return trainer

    return make
