r"""Markdown in place of JSON: labels, with lists or lines of text under them.

A label is a heading, a bold word, an element's tag, or a word with its colon. Text without a label
is not read: nobody said what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lanpo_memory.parsing.fields import LIST_MARK, Fields, lines_of
from lanpo_memory.parsing.names import Field, field_of

__all__ = ["listed"]

_MAX_LABEL_CHARS = 100
_MAX_WORDS = 4  # of a label within a line such as "Here are the key takeaways:"
_TAG = re.compile(r"<(/?)([^\W\d][\w ]{2,40})>")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_QUOTE = re.compile(r"^(?:[ \t]*>)+[ \t]?")
_RULE = re.compile(r"^\s*(?:-{3,}|\*{3,}|_{3,}|={3,})\s*$")
_HEADING = re.compile(r"^\s*#{1,6}\s*")
_FRONT = re.compile(r"^[\W\d_]+")
_BACK = re.compile(r"[\W_]+$")
_ASIDE = re.compile(r"\s*[(（][^()（）]{0,80}[)）]")
_BOLD_LABEL = re.compile(r"^(\*\*|__|\*|_)(?=\S)([^*\n]{1,80}?)(?<=\S)\1\s*[-–—:：]?\s*(.*)$")
_BOLD = re.compile(r"(?<!\w)(\*\*|__)(?=\S)(.{1,300}?)(?<=\S)\1(?!\w)")


@dataclass
class _Line:
    """One line, looked at: what it labels, and what it says itself."""

    text: str
    rest: str  # what follows the label
    is_item: bool
    is_heading: bool
    is_bold: bool
    label: Field | None
    announces: bool  # the label is part of a sentence: it goes for a list only


@dataclass
class _Reader:
    """Reads line by line: which part the lines belong to, and what was said in it."""

    current: Field | None = None
    from_item: bool = False  # the label was an item of a list: the next item may be one, too
    inline: bool = False  # text stood on the label's own line
    list_only: bool = False
    items: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    blank: bool = False
    found: Fields = field(default_factory=dict)

    def open(self, label: Field | None, *, from_item: bool = False) -> None:
        """End a part and begin another. With a list, the text around it is no entry."""
        if self.current is not None:
            lines = lines_of(self.items or self.prose)
            self.found.setdefault(self.current, []).extend(lines)
        self.current, self.from_item = label, from_item
        self.items, self.prose, self.blank, self.inline = [], [], False, False

    def take(self, line: _Line) -> None:
        if line.label and self._labels(line):
            self.open(line.label, from_item=line.is_item)
            self.prose += [line.rest] if line.rest else []
            self.inline, self.list_only = bool(line.rest), line.announces
        elif line.is_heading:
            self.open(None)
        elif self.current is not None:
            self._take_entry(line)

    def _labels(self, line: _Line) -> bool:
        """Whether a label counts: "Tip: look first" is an entry of the list that it stands in."""
        if not line.is_item or not line.rest or self.current is None or self.from_item:
            return True
        return line.is_bold and line.label != self.current

    def _take_entry(self, line: _Line) -> None:
        if line.is_item:
            self.items.append(line.text)
        elif self.blank and (self.items or self.inline):
            self.open(None)  # the list is over, and what follows is not under the label
        elif not self.items:
            self.prose += [] if self.list_only else [line.text]
        else:
            self.items[-1] += " " + line.text
        self.blank = False


def listed(text: str, *, under_header: bool = False) -> Fields:
    r"""Return what stands under labels; under the experience header, a list needs none.

    >>> listed("**Lessons:**\n1. Count.\n2. Check.\n\nPitfalls: none.\n\nI hope this helps.")
    {'principles': ['Count.', 'Check.']}
    """
    reader = _Reader(current="principles" if under_header else None, list_only=True)
    for raw in _TAG.sub(_as_label, text).splitlines():
        if not raw.strip():
            reader.blank = True
        elif _RULE.match(raw):
            reader.open(None)
        elif not _FENCE.match(raw):
            reader.take(_looked_at(_QUOTE.sub("", raw)))
    reader.open(None)
    return {name: list(dict.fromkeys(lines)) for name, lines in reader.found.items() if lines}


def _as_label(tag: re.Match[str]) -> str:
    if field_of(tag[2]) is None:
        return tag[0]
    return "\n---\n" if tag[1] else f"\n# {tag[2]}\n"


def _looked_at(raw: str) -> _Line:
    mark = LIST_MARK.match(raw)
    bare = raw[mark.end() :] if mark else raw
    heading = _HEADING.match(bare)
    bare = bare[heading.end() :] if heading else bare
    bold = _BOLD_LABEL.match(bare.strip())
    label, rest = _label(bare.strip(), bold, alone=bool(heading or bold or not mark))
    announced = None if label or mark else _announced(bare.strip())
    return _Line(
        text=_BOLD.sub(r"\2", bare.strip()),
        rest=_BOLD.sub(r"\2", rest.strip()),
        is_item=mark is not None and heading is None,
        is_heading=heading is not None,
        is_bold=bold is not None,
        label=label or announced,
        announces=announced is not None,
    )


def _label(line: str, bold: re.Match[str] | None, *, alone: bool) -> tuple[Field | None, str]:
    """Return what a line labels and what it says after that."""
    if bold and (found := _named(bold[2])):
        return found, bold[3]
    head, colon, rest = _split(line)
    if not colon:
        return (_named(head), "") if alone else (None, "")
    return _named(head), rest


def _split(line: str) -> tuple[str, str, str]:
    at = re.search(r"[:：]", line[:_MAX_LABEL_CHARS])
    if at is None:
        return line, "", ""
    return line[: at.start()], at[0], line[at.end() :].strip().removeprefix("**").strip()


def _named(label: str) -> Field | None:
    if label.lstrip().startswith(('"', "'", "{", "[")):
        return None  # a line of JSON
    return field_of(_BACK.sub("", _FRONT.sub("", _ASIDE.sub("", label[:_MAX_LABEL_CHARS]))))


def _announced(line: str) -> Field | None:
    """What a sentence announces that ends in a colon, by its last words or its first."""
    words = _BACK.sub("", line).split() if line.rstrip("*_ ").endswith((":", "：")) else []
    for n in range(min(_MAX_WORDS, len(words)), 0, -1):
        if len(line) <= _MAX_LABEL_CHARS and (
            found := field_of(" ".join(words[-n:])) or field_of(" ".join(words[:n]))
        ):
            return found
    return None
