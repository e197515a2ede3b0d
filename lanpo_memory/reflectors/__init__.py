"""Guidance from earlier attempts."""

from lanpo_memory.reflectors.critiques import critique_entry
from lanpo_memory.reflectors.in_rollout import InRolloutReflector

__all__ = ["InRolloutReflector", "critique_entry"]
