"""Playbooks of ACE: sections of bullets with ids and counters, as text or as JSON.

As text::

    ## STRATEGIES & INSIGHTS
    [sai-00001] helpful=3 harmful=0 :: Find the rate for one unit first.

A section of mistakes to avoid gives pitfalls, every other one principles. As JSON: a list of
bullets with ``content``, ``section`` and counters, or an object with such ``bullets``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lanpo_memory.importers.documents import Row, rows_of, starts_as_json, text_of
from lanpo_memory.importers.fields import kind_of
from lanpo_memory.importers.items import Item, merged, says_pitfall

__all__ = ["read_ace"]

_BULLET = re.compile(r"(?:[-*]\s+)?\[([^\]]+)\]\s*helpful=(\d+)\s*harmful=(\d+)\s*::[ \t]*(.*)")
_INSIDE = ("bullets", "playbook")


def read_ace(path: Path) -> Iterator[Item]:
    """Yield the bullets of a playbook, in order."""
    text = text_of(path)
    if starts_as_json(text):
        return map(_of_json, rows_of(path, inside=_INSIDE))
    return _bullets(text)


def _bullets(text: str) -> Iterator[Item]:
    section, bullet = "", None
    for line, raw in enumerate(chain(text.split("\n"), ["## end"]), 1):
        words = raw.strip()
        heading, found = words.startswith("##"), _BULLET.match(words)
        broken = not found and _is_almost(words)
        if bullet is not None and (heading or found or broken):
            yield bullet.item()
            bullet = None
        if heading:
            section = words.strip("#").strip()
        elif broken:
            yield Item(line, fault="no bullet: [id] helpful=N harmful=N :: text is needed")
        elif found:
            bullet = _Bullet(line, section, found)
        elif bullet is not None:  # a bullet may hold a formula or a piece of code
            bullet.lines.append(raw)


def _is_almost(words: str) -> bool:
    """Whether a line was meant to be a bullet; the rest is prose."""
    counted = "helpful" in words or "harmful" in words
    return counted and "::" in words and words.lstrip("-* \t").startswith("[")


class _Bullet:
    """A bullet whose text may go on in the lines below it."""

    def __init__(self, line: int, section: str, found: re.Match[str]) -> None:
        self._line, self._section = line, section
        self._id, self._helpful, self._harmful, first = found.groups()
        self.lines = [first]

    def item(self) -> Item:
        if len(self._helpful + self._harmful) > 1_000:  # digits that Python refuses to read
            return Item(self._line, fault="a counter is too large a number")
        return Item(
            self._line,
            content="\n".join(self.lines).strip(),
            pitfall=says_pitfall(self._section),
            fields={
                "id": self._id,
                "section": self._section,
                "helpful": int(self._helpful),
                "harmful": int(self._harmful),
            },
        )


def _of_json(row: Row) -> Item:
    if row.fault or not isinstance(row.value, dict):
        fault = row.fault or f"not a JSON object but {kind_of(row.value)}"
        return Item(row.line, fault=fault)
    return Item(
        row.line,
        content=row.value.get("content"),
        when=row.value.get("when_to_use"),
        pitfall=says_pitfall(row.value.get("section")),
        created=row.value.get("created_at"),
        fields=merged(row.value, without=("content", "when_to_use")),
    )
