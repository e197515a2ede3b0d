"""LANPO on TRL: the experience memory plugged into the GRPO trainer.

Names are imported when they are first used, so that the command line starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanpo_rl.config import LanpoConfig
    from lanpo_rl.memory import build_memory
    from lanpo_rl.rewards import SectionReward, math_accuracy
    from lanpo_rl.trainer import LanpoTrainer

__all__ = ["LanpoConfig", "LanpoTrainer", "SectionReward", "build_memory", "math_accuracy"]

_HOME = {
    "LanpoConfig": "config",
    "LanpoTrainer": "trainer",
    "SectionReward": "rewards",
    "build_memory": "memory",
    "math_accuracy": "rewards",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"lanpo_rl.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
