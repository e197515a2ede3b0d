"""The JSON objects and arrays in an answer: where they are, whole or cut."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lanpo_memory.parsing.loading import load
from lanpo_memory.parsing.names import field_of

__all__ = ["Found", "find"]

# Each of these takes its time. Once so many were met, only the last places are looked at.
_MAX_TRIES = 8  # places that lead nowhere
_MAX_REPAIRS = 4  # objects that are no strict JSON
_LAST = 32
_LAST_REPAIRS = 8
_MAX_DEPTH = 64
_MAX_CUT = 4  # places where an object may have begun that was cut

# An object begins with a quote, or with the name of a part; that leaves out sets and LaTeX. There
# may be comments in front.
_START = re.compile(
    r"(?:\{(?=(?:\s|//[^\n]{0,200}+\n|#[^\n]{0,200}+\n|/\*[^*]{0,200}+\*/){0,99}+"
    r"(?:\\?[\"'“]|(?P<name>[^\W\d]\w{3,30}+)\s{0,9}:))"
    r"|\[(?=\s{0,99}[\"'“{]))"
)
_TOKENS = {
    "{": (re.compile(r'\\.|["{}]', re.DOTALL), "{", "}"),
    "[": (re.compile(r'\\.|["\[\]]', re.DOTALL), "[", "]"),
}
# Strings end before a bracket, a comma or a colon; one that does not end reaches to the end.
_PIECE = re.compile(
    r'"(?:\\.|[^"\\]|"(?!\s{0,20}[\]}),:]))*+(?:"|$)'
    r"|(?<=[\[{(,:\s])'(?:\\.|[^'\\]|'(?!\s{0,20}[\]}),:]))*+(?:'|$)"
    r"|[\[\]{},]",
    re.DOTALL,
)


class Found(NamedTuple):
    """One object or array: where it begins, and its value, `None` if it cannot be read.

    `closed` is false for one that breaks off: its value is what was complete of it.
    """

    start: int
    end: int
    value: Any
    closed: bool


def find(text: str) -> list[Found]:
    """Return the outermost objects and arrays of a text, in order, then those that break off.

    >>> [one.value for one in find('{"tips": ["a"]}, {"tips": ["b", "and th')]
    [{'tips': ['a']}, {'tips': ['b']}]
    """
    closed: list[Found] = []
    open_starts: list[int] = []
    starts = _starts(text)
    past = unread = repairs = 0
    for to_come, start in zip(range(len(starts), 0, -1), starts, strict=True):
        tries = len(open_starts) + unread
        if start < past or (tries >= _MAX_TRIES and to_come > _LAST):
            continue
        end = _closing(text, start, in_strings=False) or _closing(text, start, in_strings=True)
        if end is None:
            open_starts.append(start)
            continue
        value = load(text[start:end], repair=False)
        if value is None and (repairs < _MAX_REPAIRS or to_come <= _LAST_REPAIRS):
            repairs += 1
            value = load(text[start:end])
        unread += value is None
        past = past if value is None else end  # what cannot be read may hold what can
        closed.append(Found(start, end, value, closed=True))
    return [*closed, *_cut(text, open_starts)]


def _starts(text: str) -> list[int]:
    return [
        match.start()
        for match in _START.finditer(text)
        if match["name"] is None or field_of(match["name"])
    ]


def _closing(text: str, start: int, *, in_strings: bool) -> int | None:
    """Return the index after the bracket that closes the one at `start`.

    Brackets within double quotes count only if `in_strings`: the second try, for bad quoting.
    """
    depth, quoted = 0, False
    tokens, opening, closing = _TOKENS[text[start]]
    for token in tokens.finditer(text, start):
        if token[0] == '"':
            quoted = not quoted and not in_strings
        elif token[0] in (opening, closing) and not quoted:
            depth += 1 if token[0] == opening else -1
            if depth == 0:
                return token.end()
    return None


def _cut(text: str, starts: list[int]) -> list[Found]:
    """What is complete of objects that break off."""
    if not starts:
        return []
    first, *others = starts
    objects = [start for start in others if text[start] == "{"]
    tried = [first, *objects[: _MAX_CUT - 2], *objects[-1:]]
    found = [(start, _closed_early(text, start)) for start in dict.fromkeys(tried)]
    return [
        Found(start, len(text), None if source is None else load(source), closed=False)
        for start, source in found
    ]


def _closed_early(text: str, start: int) -> str | None:
    """Close an object that breaks off after its last complete entry; `None` without one.

    An entry is complete if a comma or a bracket follows it. An object in a list is one entry.
    """
    brackets: list[str] = []
    last: tuple[int, str] | None = None
    for piece in _PIECE.finditer(text, start):
        mark = piece[0]
        if mark in "[{":
            brackets.append("]" if mark == "[" else "}")
            if len(brackets) > _MAX_DEPTH:
                return None
        elif mark in "]}":
            if mark in brackets:  # those in between were forgotten
                while brackets.pop() != mark:
                    pass
            if not brackets:
                return text[start : piece.end()]
        elif mark != ",":
            continue
        if mark not in "[{" and "]}" not in "".join(brackets):
            end = piece.start() if mark == "," else piece.end()
            last = (end, "".join(reversed(brackets)))
    return None if last is None else text[start : last[0]] + last[1]
