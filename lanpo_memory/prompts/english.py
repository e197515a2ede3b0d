"""The default language of the roles."""

from __future__ import annotations

from collections.abc import Sequence

from lanpo_memory.parsing import parse_summary
from lanpo_memory.prompts import asking, guiding
from lanpo_memory.prompts.sections import SECTIONS, final_answer, solution_of, verdict_of
from lanpo_memory.types import (
    Attempt,
    Experience,
    Failure,
    GuidanceKind,
    Messages,
    Problem,
    Retrieved,
)

__all__ = ["EnglishPrompts"]


class EnglishPrompts:
    r"""The default `Prompts`: English, for problems with one final answer in ``\boxed{}``.

    Guidance texts end so that the problem can follow right after them. Neither family, metadata,
    reward nor ids are ever rendered. The section that solves the problem (the last one) is asked
    to stand on its own, because it may be learned without the guidance in front of it.

    >>> EnglishPrompts().solve(Problem(text="2 + 3?"))[0]["content"]
    '2 + 3?\n\nThink step by step. Put your final answer in \\boxed{}.'
    """

    def solve(self, problem: Problem) -> Messages:
        """The bare prompt: the problem and how to give the final answer."""
        return asking.user(
            f"{problem.text}\n\nThink step by step. Put your final answer in \\boxed{{}}."
        )

    # ------------------------------------------------------------------ guidance

    def inter(
        self,
        problem: Problem,
        retrieved: Sequence[Retrieved],
    ) -> str:
        """Guidance from experiences of other problems; empty without any.

        `problem` is not rendered: its text follows the guidance.
        """
        return guiding.inter(retrieved) if retrieved else ""

    def intra(self, attempt: Attempt) -> str:
        """Guidance from an earlier attempt. It says nothing about whether the attempt is right."""
        return guiding.intra(attempt)

    def intra_after(self, attempt: Attempt, critique: str) -> str:
        """Like `intra`, with a critique, which is shown as an opinion that may be wrong.

        An empty critique leaves what `intra` says.
        """
        return guiding.intra(attempt, critique)

    # ------------------------------------------------------------------ reading completions

    def sections(self, kind: GuidanceKind) -> Sequence[tuple[str, ...]]:
        """Section headers a guided completion must have; a tuple holds alternatives."""
        return SECTIONS[kind]

    def solution(self, kind: GuidanceKind, completion: str) -> str | None:
        r"""The part of a completion that solves the problem, or `None` if it is missing.

        Without guidance that is all of it. After a reflection it is the corrected solution or,
        only where the conclusion says that the attempt is correct, the validation. A section that
        stands there twice counts with its last text.

        >>> EnglishPrompts().solution("inter", "### Final Plan: add\n### Solution: 5")
        '5'
        """
        return solution_of(kind, completion)

    def answer(self, completion: str) -> str | None:
        r"""The last boxed answer; in a completion with sections, that of the one which solves.

        What is boxed in an evaluation or a verification never counts: it may be what the notes or
        the attempt came to.

        >>> EnglishPrompts().answer("### Conclusion: not \\boxed{6}\n### Corrected Solution: cut")
        >>> EnglishPrompts().answer("so it is \\boxed{5}")
        '5'
        """
        return final_answer(completion)

    def verdict(self, completion: str) -> bool | None:
        r"""Whether the conclusion calls the attempt correct; `None` where it cannot be read.

        >>> EnglishPrompts().verdict("### Conclusion:\nIncorrect: the sum is wrong.")
        False
        """
        return verdict_of(completion)

    # ------------------------------------------------------------------ asking a model

    def summarise(self, problem: Problem, completion: str) -> Messages:
        """Ask for an experience. There is no argument for a reward, a verdict or an answer."""
        return asking.summarise(problem, completion)

    def contrast(self, problem: Problem, right: Sequence[str], wrong: Sequence[str]) -> Messages:
        """Ask for an experience from completions that were right and others that were not."""
        return asking.contrast(problem, right, wrong)

    def abstract(self, problem: Problem, retrieved: Sequence[Retrieved]) -> Messages:
        """Ask what experiences of other problems mean for this one; `parse` reads the answer."""
        return asking.abstract(problem, retrieved)

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read the answer to `summarise`, `contrast` or `abstract`; else it is a `Failure`."""
        return parse_summary(problem, answer)

    def critique(self, attempt: Attempt) -> Messages:
        """Ask for a critique, step by step, of an attempt that nobody has checked."""
        return asking.critique(attempt)

    def judge(self, problem: Problem, experience: Experience) -> Messages:
        """Ask whether an experience helps with a problem; the answer is ``yes`` or ``no``.

        The problem that the experience comes from is not shown.
        """
        return asking.judge(problem, experience)
