"""Tasks for the tiny policy: problems made from a seed, with their answers kept aside."""

from lanpo_rl.tasks.base import Example, Split, Task, boxed_reward
from lanpo_rl.tasks.chains import make_chains
from lanpo_rl.tasks.hidden_constants import LEXICAL_GAMMA, HiddenConstants, make_hidden_constants

__all__ = [
    "LEXICAL_GAMMA",
    "Example",
    "HiddenConstants",
    "Split",
    "Task",
    "boxed_reward",
    "make_chains",
    "make_hidden_constants",
]
