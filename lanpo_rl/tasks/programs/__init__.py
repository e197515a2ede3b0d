"""Programs in a string-rewriting language, and a task whose families hide a construct."""

from lanpo_rl.tasks.programs.language import (
    INSTRUCTIONS,
    PROGRAM_VOCABULARY,
    STEP_WORDS,
    execute,
    read_program,
)
from lanpo_rl.tasks.programs.prompts import ProgramPrompts
from lanpo_rl.tasks.programs.task import CONSTRUCTS, PROGRAM_GAMMA, Programs, make_programs

__all__ = [
    "CONSTRUCTS",
    "INSTRUCTIONS",
    "PROGRAM_GAMMA",
    "PROGRAM_VOCABULARY",
    "STEP_WORDS",
    "ProgramPrompts",
    "Programs",
    "execute",
    "make_programs",
    "read_program",
]
