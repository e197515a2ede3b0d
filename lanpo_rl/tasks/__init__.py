"""Tasks for the tiny policy: problems made from a seed, with their answers kept aside."""

from lanpo_rl.tasks.base import LEVELS, SPLITS, Example, Level, Split, Task, boxed_reward
from lanpo_rl.tasks.chains import make_chains
from lanpo_rl.tasks.hidden_constants import LEXICAL_GAMMA, HiddenConstants, make_hidden_constants
from lanpo_rl.tasks.inverse import InversePrompts, make_inverse
from lanpo_rl.tasks.programs import PROGRAM_GAMMA, Programs, make_programs

__all__ = [
    "LEVELS",
    "LEXICAL_GAMMA",
    "PROGRAM_GAMMA",
    "SPLITS",
    "Example",
    "HiddenConstants",
    "InversePrompts",
    "Level",
    "Programs",
    "Split",
    "Task",
    "boxed_reward",
    "make_chains",
    "make_hidden_constants",
    "make_inverse",
    "make_programs",
]
