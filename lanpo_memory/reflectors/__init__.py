"""Guidance from earlier attempts."""

from lanpo_memory.reflectors.critiques import critique_entry
from lanpo_memory.reflectors.in_rollout import InRolloutReflector
from lanpo_memory.reflectors.two_stage import TwoStageReflector

__all__ = ["InRolloutReflector", "TwoStageReflector", "critique_entry"]
