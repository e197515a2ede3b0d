"""The sections of a guided completion: their headers, and what is read out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lanpo_memory.parsing import boxed_answer
from lanpo_memory.parsing import sections as split_sections
from lanpo_memory.parsing.thinking import spoken
from lanpo_memory.types import GuidanceKind

__all__ = [
    "CONCLUSION",
    "CORRECTED",
    "EVALUATION",
    "PLAN",
    "SECTIONS",
    "SOLUTION",
    "VALIDATION",
    "VERIFICATION",
    "final_answer",
    "solution_of",
    "verdict_of",
]

# The headers are the paper's (arXiv 2510.16552).
EVALUATION = "### Experience Evaluation:"
PLAN = "### Final Plan:"
SOLUTION = "### Solution:"
VERIFICATION = "### Step-by-Step Verification:"
CONCLUSION = "### Conclusion:"
VALIDATION = "### Validation:"
CORRECTED = "### Corrected Solution:"

SECTIONS: dict[GuidanceKind, tuple[tuple[str, ...], ...]] = {
    "none": (),
    "inter": ((EVALUATION,), (PLAN,), (SOLUTION,)),
    "intra": ((VERIFICATION,), (CONCLUSION,), (VALIDATION, CORRECTED)),
}
"""Headers a guided completion must have, by kind of guidance; a tuple holds alternatives."""

_OF_KIND = {
    kind: [header for alternatives in headers for header in alternatives]
    for kind, headers in SECTIONS.items()
}
_ALL = [header for headers in _OF_KIND.values() for header in headers]
_SOLVING = (CORRECTED, SOLUTION, VALIDATION)
_ON_OTHERS = (EVALUATION, VERIFICATION)  # what is boxed there may be what an attempt came to

_NO = r"\b(?:not|never|hardly|partly|partially|mostly|almost|nearly)\b|n['’]t\b"
_VERDICT = re.compile(
    rf"(?P<no>(?:{_NO})(?:\s+\w+){{0,2}}\s+correct\b|\bincorrect\b|\A\W*wrong\b)|\bcorrect\b",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\bcorrect\W{0,3}\s*(?:or|/|\|)\s*\W{0,3}incorrect\b", re.IGNORECASE)


def solution_of(kind: GuidanceKind, completion: str) -> str | None:
    """Return the part of a completion that solves the problem, or `None` if it is missing."""
    if kind == "none":
        return completion
    found = _found(spoken(completion).text, _OF_KIND[kind])
    if kind == "inter":
        return found.get(SOLUTION) or None
    if corrected := found.get(CORRECTED):
        return corrected
    validated = _verdict(found.get(CONCLUSION, "")) is True
    return found.get(VALIDATION) or None if validated else None


def final_answer(completion: str) -> str | None:
    """Return the boxed answer of the section that solves the problem, or of a text without any.

    Where that section is missing, an answer counts that stands outside those which look at
    somebody else's work: there, the box may hold what the attempt came to. What a model thinks
    before it answers does not count.
    """
    completion = spoken(completion).text
    found = _found(completion, _ALL)
    solving = [header for header in _SOLVING if header in found]
    if not solving and not any(header in found for header in _ON_OTHERS):
        return boxed_answer(completion)
    answers = [boxed_answer(found.get(header, "")) for header in solving or (CONCLUSION, PLAN)]
    return next((answer for answer in answers if answer is not None), None)


def verdict_of(completion: str) -> bool | None:
    """Return what the conclusion says of the attempt; `None` if it does not say."""
    return _verdict(_found(spoken(completion).text, _OF_KIND["intra"]).get(CONCLUSION, ""))


def _found(completion: str, headers: Sequence[str]) -> Mapping[str, str]:
    """The sections of a completion; one that stands there twice counts with its last text."""
    return dict(split_sections(completion, headers))


def _verdict(conclusion: str) -> bool | None:
    """The first verdict in a conclusion: is the attempt correct? A choice of two is none."""
    verdict = _VERDICT.search(_EITHER.sub("", conclusion))
    return None if verdict is None else verdict["no"] is None
