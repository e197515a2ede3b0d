"""The roles in the tiny policy's language: an implementation of `lanpo_memory`'s `Prompts`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lanpo_memory.types import (
    Attempt,
    Experience,
    Failure,
    GuidanceKind,
    Messages,
    Problem,
    Retrieved,
)
from lanpo_rl.tiny.alphabet import NAMES, boxed_answer, strip_marks

__all__ = ["TinyPrompts", "as_check", "as_hint", "as_summary_request", "as_user"]

_LESSON = re.compile(rf"(?:{'|'.join(NAMES)}) C\d\d")
_CHECK_MARK = re.compile(r"(?::\d|C\d\d)([=?])")


def as_user(text: str) -> Messages:
    """Return a text as a conversation of one user message."""
    return [{"role": "user", "content": text}]


def as_hint(lesson: str) -> str:
    """Return a lesson as it stands in front of a problem."""
    return f"hint {lesson}|"


def as_check(attempt: str) -> str:
    """Return an earlier attempt as it stands in front of its problem, old check marks removed."""
    return f"check {strip_marks(attempt)}|"


def as_summary_request(problem: str, completion: str) -> str:
    """Return the text that asks for a lesson."""
    return f"sum {problem}|{strip_marks(completion)}"


class TinyPrompts:
    r"""`Prompts` in the small alphabet of the tiny policy.

    >>> from lanpo_memory.types import Problem
    >>> prompts, problem = TinyPrompts(), Problem(text="bako bako bako 8_6")
    >>> prompts.summarise(problem, r"C09+14=\boxed{23}")[0]["content"]
    'sum bako bako bako 8_6|C09+14=\\boxed{23}'
    >>> prompts.parse(problem, "bako C09").principles
    ('bako C09',)
    """

    def solve(self, problem: Problem) -> Messages:
        """Return the problem's text, and nothing else, as the user's message."""
        return as_user(problem.text)

    def inter(self, problem: Problem, retrieved: Sequence[Retrieved]) -> str:
        """Return one hint for each distinct principle, in the order given."""
        lessons = dict.fromkeys(p for r in retrieved for p in r.experience.principles)
        return "".join(as_hint(lesson) for lesson in lessons)

    def intra(self, attempt: Attempt) -> str:
        """Return the attempt behind the word ``check``."""
        return as_check(attempt.text)

    def sections(self, kind: GuidanceKind) -> Sequence[tuple[str, ...]]:
        """Return no headers: completions in this language have none."""
        return ()

    def solution(self, kind: GuidanceKind, completion: str) -> str | None:
        """Return the completion, without check marks if it is a check; `None` without an answer."""
        if boxed_answer(completion) is None:
            return None
        return strip_marks(completion) if kind == "intra" else completion

    def answer(self, completion: str) -> str | None:
        r"""Return what the last closed box holds, or `None` without one.

        >>> TinyPrompts().answer(r"+3:7=*7:9?\boxed{9}"), TinyPrompts().answer("9")
        ('9', None)
        """
        return boxed_answer(completion)

    def verdict(self, completion: str) -> bool | None:
        r"""Return whether a check found every step as it was; `None` where nothing is marked.

        >>> [TinyPrompts().verdict(text) for text in ("+3:7=*7:9?", "C09=", "C09+14=23")]
        [False, True, None]
        """
        marks = _CHECK_MARK.findall(completion)
        return "?" not in marks if marks else None

    def summarise(self, problem: Problem, completion: str) -> Messages:
        """Ask which constant the completion names for the problem's family."""
        return as_user(as_summary_request(problem.text, completion))

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read ``NAME Cdd``. Whether it is the right name and the right constant is not looked at.

        A check would need the very knowledge that the policy is to find out for itself.
        """
        lesson = answer.strip()
        if _LESSON.fullmatch(lesson) is None:
            return Failure(reason="the summary is not of the form 'NAME Cdd'", text=answer)
        return Experience(problem=problem, principles=(lesson,))
