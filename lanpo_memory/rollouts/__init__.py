"""Memory around a rollout function: for trainers whose rollout is code of their users.

Nothing here knows a trainer. `wrap_rollout` takes the function that turns prompts into completions
and returns one that asks the memory before and tells it after.
"""

from lanpo_memory.rollouts.batch import GuidedBatch
from lanpo_memory.rollouts.reading import Sampled, problem_of
from lanpo_memory.rollouts.wrapping import WrappedRollout, wrap_rollout

__all__ = ["GuidedBatch", "Sampled", "WrappedRollout", "problem_of", "wrap_rollout"]
