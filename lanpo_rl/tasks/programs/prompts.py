"""The roles on programs, in the tiny policy's language."""

from __future__ import annotations

import re

from lanpo_memory.types import Experience, Failure, GuidanceKind, Problem
from lanpo_rl.tasks.programs.language import INSTRUCTIONS, read_program
from lanpo_rl.tiny.alphabet import NAMES
from lanpo_rl.tiny.prompts import TinyPrompts

__all__ = ["ProgramPrompts"]

_INSTRUCTION = "|".join(INSTRUCTIONS)
_LESSON = re.compile(rf"(?:{'|'.join(NAMES)})(?: (?:{_INSTRUCTION})){{2}}")


class ProgramPrompts(TinyPrompts):
    """`TinyPrompts` for answers that are programs. A completion is its program, and no more.

    >>> prompts, problem = ProgramPrompts(), Problem(text="bako bako bako crossed_reversed")
    >>> prompts.summarise(problem, "[rot dup]swp rev")[0]["content"]
    'sum bako bako bako crossed_reversed|[rot dup]swp rev'
    >>> prompts.parse(problem, "bako rot dup").principles
    ('bako rot dup',)
    """

    def solution(self, kind: GuidanceKind, completion: str) -> str | None:
        """Return the completion; `None` if it is no program."""
        return self.answer(completion)

    def answer(self, completion: str) -> str | None:
        """Return the program that a completion is; `None` if it is none.

        >>> ProgramPrompts().answer("[rot dup]swp"), ProgramPrompts().answer("[rot dup")
        ('[rot dup]swp', None)
        """
        return None if read_program(completion) is None else completion

    def verdict(self, completion: str) -> bool | None:
        """Return `None`: a check writes the program anew and marks nothing."""
        return None

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read ``NAME instruction instruction``; whether it is right is not looked at."""
        lesson = answer.strip()
        if _LESSON.fullmatch(lesson) is None:
            return Failure(reason="the summary is not of the form 'NAME xxx xxx'", text=answer)
        return Experience(problem=problem, principles=(lesson,))
