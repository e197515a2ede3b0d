"""JSON in the shapes that people have it in: a line each, one list, or a list inside an object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers.fields import parsed_line

__all__ = ["Row", "opened", "rows_of", "starts_as_json", "text_of"]

_BLANK = " \t\r\n"


class Row(NamedTuple):
    """One JSON value of a file: the line on which it begins, and the value or what is wrong."""

    line: int
    value: Any = None
    fault: str = ""


def opened(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        InvalidInputError: it is not there, or may not be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error


def text_of(path: Path) -> str:
    """Return the whole text of a file; bytes that are no UTF-8 become lone surrogates.

    Those are refused where they stand, and cost nothing else.
    """
    with opened(path) as file:
        return file.read().decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n")


def starts_as_json(text: str) -> bool:
    """Tell whether a text is JSON and not Markdown, which may begin with ``[id]``."""
    first = text.lstrip(_BLANK)
    return first[:1] == "{" or (
        first[:1] == "[" and first[1:].lstrip(_BLANK)[:1] in ("{", "]", '"')
    )


def rows_of(path: Path, *, inside: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the values of JSON Lines, of one list, or of the list under a key of one object.

    Args:
        path: the file.
        inside: keys of such an object, e.g. ``results``; an object of objects counts as a list.
    """
    with opened(path) as file:
        first = next((raw for raw in file if raw.strip()), b"")
        more = any(raw.strip() for raw in file)
    if _is_lines(first, more, inside, path):
        yield from _lines(path)
        return
    yield from _Document(text_of(path), inside).rows()


def _is_lines(first: bytes, more: bool, inside: Sequence[str], path: Path) -> bool:
    value = _parsed(first)
    if value is None:  # the first line alone is no JSON: a document of several lines, if any
        return not first.lstrip(b"\xef\xbb\xbf \t").startswith(b"[") and _parsed_whole(path) is None
    if more:
        return True
    wrapped = isinstance(value, dict) and any(isinstance(value.get(k), list | dict) for k in inside)
    return not (wrapped or isinstance(value, list))


def _parsed(raw: bytes) -> Any:
    try:
        return parsed_line(raw)
    except InvalidInputError:
        return None


def _parsed_whole(path: Path) -> Any:
    with opened(path) as file:
        return _parsed(file.read())


def _lines(path: Path) -> Iterator[Row]:
    with opened(path) as file:
        for line, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                yield Row(line, parsed_line(raw))
            except InvalidInputError as error:
                yield Row(line, fault=str(error))


class _Document:
    """Reads a JSON text value by value, so that each has a line and a fault costs what follows."""

    def __init__(self, text: str, inside: Sequence[str]) -> None:
        self._text, self._inside = text, inside
        self._decoder = json.JSONDecoder()
        self._at, self._line, self._counted = 0, 1, 0
        self._found = False

    def rows(self) -> Iterator[Row]:
        try:
            yield from self._document()
        except json.JSONDecodeError as error:
            self._at = error.pos
            yield Row(self._line_now(), fault=f"not JSON: {error.msg}; what follows is not read")
        except (ValueError, RecursionError):
            fault = "not JSON that can be read: a number too long, or nested too deeply"
            yield Row(self._line_now(), fault=fault)

    def _document(self) -> Iterator[Row]:
        if self._next() == "[":
            yield from self._values("]")
        else:
            begin = self._at
            self._take("{")
            yield from self._members()
            if not self._found:  # no list in it: it is an item itself
                yield Row(self._line, self._decoder.raw_decode(self._text, begin)[0])
        if self._next():
            yield Row(self._line_now(), fault="not JSON: more text after the end")

    def _members(self) -> Iterator[Row]:
        while self._next() != "}":
            key = self._value()
            self._take(":")
            begin = self._next()
            if key in self._inside and begin in ("[", "{"):
                self._found = True
                yield from self._values("]" if begin == "[" else "}")
            else:
                self._value()
            if self._next() != "}":
                self._take(",")
        self._at += 1

    def _values(self, end: str) -> Iterator[Row]:
        """The values of a list, or of an object whose keys only name them."""
        self._at += 1
        while self._next() != end:
            if end == "}":
                self._value()
                self._take(":")
                self._next()
            line = self._line_now()
            yield Row(line, self._value())
            if self._next() != end:
                self._take(",")
        self._at += 1

    def _value(self) -> Any:
        value, self._at = self._decoder.raw_decode(self._text, self._at)
        return value

    def _take(self, expected: str) -> None:
        if self._next() != expected:
            raise json.JSONDecodeError(f"Expecting {expected!r}", self._text, self._at)
        self._at += 1
        self._next()

    def _next(self) -> str:
        """The next character that is not blank; an empty string at the end."""
        while self._at < len(self._text) and self._text[self._at] in _BLANK:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _line_now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = max(self._counted, self._at)
        return self._line
