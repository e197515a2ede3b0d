"""A model's summary to an experience."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.parsing.fields import Fields, fields_of, lines_of, notes_of
from lanpo_memory.parsing.lists import listed
from lanpo_memory.parsing.names import field_of, is_experience
from lanpo_memory.parsing.objects import Found, find
from lanpo_memory.parsing.thinking import spoken
from lanpo_memory.texts import storable
from lanpo_memory.types import Experience, Failure, Problem

__all__ = ["EXPERIENCE_HEADER", "MAX_ANSWER_CHARS", "parse_summary"]

EXPERIENCE_HEADER = "### Experience"
"""Header of the JSON object in a summary."""

MAX_ANSWER_CHARS = 100_000
"""Longest summary that is read, thinking aside. It has at most 2048 tokens in the paper."""

_HEADER_LINE = re.compile(
    r"^[ \t]*(?:#+[ \t]*\**|\*\*)(?:\d{1,2}[.)、][ \t]*)?(?P<name>[^\W\d][^\n*:：{`#]{0,40})\**"
    r"[ \t]*[:：]?\**(?=[ \t]*(?:\r?$|[{\[`]))",
    re.MULTILINE,
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
# The first key of an object whose opening brace was forgotten.
_KEY = re.compile(r"[\"'“](\w[\w ]{1,40})[\"'”]\s{0,9}:(?=\s{0,99}[\[{\"'“])")
_CUT = "the answer is all thinking, and was cut before it ended"


def parse_summary(problem: Problem, answer: str) -> Experience | Failure:
    r"""Read a summary: what stands under `EXPERIENCE_HEADER`, or else anywhere in the answer.

    Understood are JSON objects with a flow of thought, principles and pitfalls, each a string or a
    list: in fences, in prose, with trailing commas, single quotes, comments, LaTeX with unescaped
    backslashes; of an object that breaks off, the entries that are complete; Markdown lists under
    labels; keys, labels and header in ten languages. Plain takeaways, lessons, insights or tips
    are principles. The last object that says something wins. What a model thinks between tags is
    left out. All else is a `Failure` with a reason and the text.

    >>> one = parse_summary(Problem(text="2 + 3?"), '### Experience\n{"principles": ["count on"]}')
    >>> one.principles
    ('count on',)
    >>> parse_summary(Problem(text="2 + 3?"), "**Pitfalls:**\n- guessing").pitfalls
    ('guessing',)
    >>> parse_summary(Problem(text="2 + 3?"), "I am sorry.").reason
    'no JSON object in the answer'
    """
    text = storable(answer)
    said, cut = spoken(text)
    kept = text if len(said) <= MAX_ANSWER_CHARS else text[:MAX_ANSWER_CHARS]
    if len(said) > MAX_ANSWER_CHARS:
        reason = f"the answer has {len(said):,} characters; at most {MAX_ANSWER_CHARS:,} are read"
        return Failure(reason=reason, text=kept)
    if text.strip() and not said.strip():
        return Failure(reason=_CUT if cut else "nothing follows the thinking", text=kept)
    found = find(said)
    for begin in _regions(said):
        inside = [one for one in found if one.start >= begin]
        if experience := _read(problem, said, begin, inside):
            return experience
    reason = _reason(said, found)
    return Failure(reason=f"{reason}; the thinking was cut" if cut else reason, text=kept)


def _regions(text: str) -> list[int]:
    """Where to read from: from the end of the last header, else from the start."""
    headers = [match for match in _HEADER_LINE.finditer(text) if is_experience(match["name"])]
    return [headers[-1].end(), 0] if headers else [0]


def _read(problem: Problem, text: str, begin: int, found: Sequence[Found]) -> Experience | None:
    region = text[begin:]
    for told in (_of_objects(found), _alone(text, begin, found)):
        if experience := _experience(problem, told):
            return experience
    if any(fields_of(one.value) for one in found):
        return None  # an object with nothing in it: what stands around it is not meant
    if key := next((key for key in _KEY.finditer(region) if field_of(key[1])), None):
        return _experience(problem, _of_objects(find("{" + region[key.start() :])))
    if any(one.value is None for one in found):
        return None
    return _experience(problem, listed(region, under_header=begin > 0))


def _of_objects(found: Sequence[Found]) -> Fields:
    """The parts told in objects: in those that are whole, or in one that was cut around them."""
    whole = [one for one in found if one.closed]
    told = _merged([fields_of(one.value) for one in whole])
    for one in found:
        encloses = not one.closed and (not whole or one.start < whole[-1].start)
        if encloses or (not one.closed and not told):
            fields = fields_of(one.value)
            told = max(told, fields, key=lambda f: sum(map(len, f.values())))
    return told


def _merged(parts: Sequence[Fields]) -> Fields:
    """The last object that says something, with earlier ones that say something else."""
    told: Fields = {}
    for fields in reversed(parts):
        filled = {name: lines for name, lines in fields.items() if lines}
        if not filled.keys() & told.keys():
            told.update(filled)
    return told


def _alone(text: str, begin: int, found: Sequence[Found]) -> Fields:
    """Notes without a name, and a list of strings that is the whole answer."""
    notes = [line for one in found for line in notes_of(one.value)]
    if notes or len(found) != 1 or not isinstance(found[0].value, list):
        return {"principles": notes} if notes else {}
    around = text[begin : found[0].start], text[found[0].end :]
    whole = not any(_FENCE.sub("", part).strip() for part in around)
    return {"principles": _strings(found[0].value)} if whole else {}


def _strings(values: Sequence[Any]) -> list[str]:
    return lines_of(list(values)) if all(isinstance(value, str) for value in values) else []


def _experience(problem: Problem, fields: Fields) -> Experience | None:
    thoughts = fields.get("thoughts", [])
    try:
        return Experience(
            problem=problem,
            thoughts="\n".join(f"{i}. {line}" for i, line in enumerate(thoughts, 1)),
            principles=tuple(fields.get("principles", ())),
            pitfalls=tuple(fields.get("pitfalls", ())),
        )
    except InvalidInputError:
        return None


def _reason(text: str, found: Sequence[Found]) -> str:
    if not text.strip():
        return "the answer is empty"
    if not found:
        return "no JSON object in the answer"
    if not any(one.closed for one in found):
        return "the JSON object is not closed; the answer may have been cut"
    if all(one.value is None for one in found):
        return "the JSON object cannot be read"
    if not any(fields_of(one.value) for one in found):
        return "the JSON object has none of flow_of_thought, principles, pitfalls, takeaways"
    return "flow_of_thought, principles and pitfalls are all empty"
