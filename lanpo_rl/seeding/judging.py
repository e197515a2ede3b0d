"""Which of a teacher's answers become lessons: the rejection filter, with a reason each."""

from __future__ import annotations

from dataclasses import dataclass

from lanpo_memory.parsing.thinking import spoken
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.types import Failure, GuidanceKind
from lanpo_rl.rewards import RewardFunction
from lanpo_rl.seeding.answers import TeacherAnswer

__all__ = [
    "COPIED",
    "CUT",
    "DISAGREES",
    "HEADERS",
    "NOTHING_NEAR",
    "NO_VERDICT",
    "SILENT",
    "UNREADABLE",
    "WRONG",
    "Examiner",
    "said",
    "silence",
]

SILENT = "no answer from the teacher"
CUT = "cut at the token limit"
UNREADABLE = "no experience that can be read"
COPIED = "copies the attempt or the problem"
HEADERS = "a section is missing"
WRONG = "wrong final answer"
NO_VERDICT = "no verdict that can be read"
DISAGREES = "the verdict on the attempt is wrong"
NOTHING_NEAR = "not asked: no experience of a similar problem"


def said(answer: TeacherAnswer | Failure) -> str:
    """Return what the teacher said without its thinking: that is not the policy's to learn."""
    return spoken(answer.text).text.strip()


def silence(answer: TeacherAnswer | Failure) -> str | None:
    """Say why there is no whole text, or return `None` where there is one."""
    if isinstance(answer, Failure):
        return SILENT
    if answer.truncated or spoken(answer.text).cut:
        return CUT
    return None if said(answer) else SILENT


@dataclass(frozen=True, slots=True)
class Examiner:
    """Compares final answers with the reference, and looks for sections and verdicts.

    `verify` has TRL's form, as `lanpo_rl.rewards.math_accuracy` does; a reward above 0 is right.
    It alone sees a reference answer.
    """

    prompts: SolvePrompts
    verify: RewardFunction

    def is_right(self, text: str, reference: str) -> bool:
        """Whether a text comes to the reference answer."""
        return bool(self.verify([text], answer=[reference])[0] > 0)

    def fault_of_guided(self, text: str, reference: str) -> str | None:
        """Say why an answer to experiences teaches nothing, or return `None`."""
        return self._sections(text, "inter") or self._solution(text, "inter", reference)

    def fault_of_reflection(self, text: str, reference: str, *, right: bool) -> str | None:
        """Say why a reflection on an attempt that was right, or was not, teaches nothing."""
        if fault := self._sections(text, "intra"):
            return fault
        verdict = self.prompts.verdict(text)
        if verdict is None:
            return NO_VERDICT
        if fault := self._solution(text, "intra", reference):
            return fault
        return None if verdict == right else DISAGREES

    def _sections(self, text: str, kind: GuidanceKind) -> str | None:
        wanted = self.prompts.sections(kind)
        return None if all(any(h in text for h in either) for either in wanted) else HEADERS

    def _solution(self, text: str, kind: GuidanceKind, reference: str) -> str | None:
        """The section that solves has to be right, and so has what a reward reads in the whole."""
        part = self.prompts.solution(kind, text)
        right = part is not None and self.is_right(part, reference)
        return None if right and self.is_right(text, reference) else WRONG
