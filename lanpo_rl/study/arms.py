"""What is compared: an arm is a preset with its learning rate and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lanpo_rl.config import LanpoConfig
from lanpo_rl.tasks.hidden_constants import LEXICAL_GAMMA

__all__ = ["GRPO", "MEMORY_ONLY", "PAPER", "RECOMMENDED", "Arm", "toy_config"]

Schedule = Literal["constant", "warmup_stable_decay"]


@dataclass(frozen=True)
class Arm:
    """One way of training. `settings` override the preset's; `steps` the study's."""

    name: str
    label: str
    preset: str
    learning_rate: float
    schedule: Schedule = "constant"
    steps: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


# Of 1e-4 constant and 2e-4 warm-up-stable-decay, chosen on another seed than the demo's.
GRPO = Arm("grpo", "GRPO", "grpo", learning_rate=1e-4)
PAPER = Arm("paper", "LANPO paper", "paper", learning_rate=1e-4)
RECOMMENDED = Arm(
    "recommended",
    "LANPO recommended",
    "recommended",
    learning_rate=2e-4,
    schedule="warmup_stable_decay",
)
MEMORY_ONLY = Arm("memory_only", "memory without training", "grpo", learning_rate=0.0, steps=60)


def toy_config(arm: Arm, *, seed: int, steps: int, folder: Path) -> LanpoConfig:
    """Return an arm's full settings on the built-in tasks with the tiny policy.

    64 rollouts a step in 8 groups, clip-higher as in the paper, one on-policy update a step.
    """
    steps = arm.steps or steps
    decays = arm.schedule == "warmup_stable_decay"
    settings: dict[str, Any] = {
        "output_dir": str(folder / "trainer"),
        "seed": seed,
        "max_steps": steps,
        "learning_rate": arm.learning_rate,
        "lr_scheduler_type": arm.schedule,
        "warmup_steps": min(10, steps // 4) if decays else 0,
        "per_device_train_batch_size": 64,
        "num_generations": 8,
        "max_completion_length": 16,
        "temperature": 1.0,
        "epsilon_high": 0.28,  # clip-higher: arXiv 2510.16552 §5
        "beta": 0.0,
        "loss_type": "dapo",
        "summary_max_tokens": 8,
        "gamma": LEXICAL_GAMMA,
        "pool": str(folder / "pool.db"),
        "alarms": False,  # a study looks at whole curves
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": [],
        "save_strategy": "no",
    }
    if decays:
        settings["lr_scheduler_kwargs"] = {
            "num_decay_steps": steps // 2,
            "min_lr_ratio": 0.05,
            "decay_type": "linear",
        }
    return LanpoConfig.preset(arm.preset, **{**settings, **arm.settings})
