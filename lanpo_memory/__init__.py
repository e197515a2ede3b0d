"""An experience memory for RL runs and agents: what rollouts taught, searchable, durable, honest.

>>> pool = open_pool("memory:")
>>> receipts = pool.add([Experience(problem=Problem(text="Sum the odd numbers below 20."),
...                                 principles=("Pair the first with the last.",))])
>>> hit = pool.retrieve([Problem(text="Sum the odd numbers below 90.")])[0][0]
>>> hit.experience.principles, round(hit.similarity, 1)
(('Pair the first with the last.',), 0.5)
"""

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.admission import admit_contrast, admit_correct
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.prompts import AgentPrompts, EnglishPrompts
from lanpo_memory.rollouts import wrap_rollout
from lanpo_memory.sessions import session
from lanpo_memory.solving import Solver
from lanpo_memory.turns import rollout_of
from lanpo_memory.types import (
    Attempt,
    Batch,
    Completion,
    Experience,
    ExperienceMetadata,
    Exposure,
    Failure,
    Guidance,
    Limits,
    Observation,
    Problem,
    Receipt,
    Request,
    Retrieved,
    Rollout,
    Solution,
)

__all__ = [
    "AgentPrompts",
    "Attempt",
    "Batch",
    "Completion",
    "EnglishPrompts",
    "Experience",
    "ExperienceMetadata",
    "ExperiencePool",
    "Exposure",
    "Failure",
    "Guidance",
    "Guide",
    "Ledger",
    "Limits",
    "Observation",
    "PoolAdapter",
    "Problem",
    "Receipt",
    "Request",
    "Retrieved",
    "Rollout",
    "Solution",
    "Solver",
    "admit_contrast",
    "admit_correct",
    "open_pool",
    "rollout_of",
    "session",
    "wrap_rollout",
]
