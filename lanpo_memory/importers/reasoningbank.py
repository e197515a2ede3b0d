"""Items of ReasoningBank: title, description, content.

As JSON: a list of items, an item a line, or a task a line with its ``memory_items``: a list of
items, or the Markdown that a model wrote. As Markdown::

    # Memory Item 1
    ## Title Rates
    ## Description When to find a rate.
    ## Content Find the rate for one unit first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from lanpo_memory.importers.documents import Row, rows_of, starts_as_json, text_of
from lanpo_memory.importers.fields import kind_of
from lanpo_memory.importers.items import Item, merged, says_pitfall

__all__ = ["read_reasoningbank"]

_HEAD = re.compile(r"^[ \t]*#+[ \t]*Memory Item\b[^\n]*$", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(
    r"^[ \t]*#+[ \t]*\**(Title|Description|Content)\b\**:?\**[ \t]*", re.IGNORECASE | re.MULTILINE
)
_ITEMS = "memory_items"


def read_reasoningbank(path: Path) -> Iterator[Item]:
    """Yield the items of a file, in order."""
    text = text_of(path)
    if not starts_as_json(text):
        yield from _of_markdown(text, 1, {})
        return
    for row in rows_of(path, inside=("items", "memories")):
        yield from _of_row(row)


def _of_row(row: Row) -> Iterator[Item]:
    if row.fault:
        yield Item(row.line, fault=row.fault)
    elif isinstance(row.value, str):
        yield from _of_markdown(row.value, row.line, {}, lines=False)
    elif not isinstance(row.value, dict):
        yield Item(row.line, fault=f"not a JSON object but {kind_of(row.value)}")
    elif _ITEMS in row.value:
        yield from _of_task(row.line, row.value)
    else:
        yield _of_object(row.line, row.value, {})


def _of_task(line: int, task: Mapping[str, Any]) -> Iterator[Item]:
    items, about = task[_ITEMS], merged(task, without=(_ITEMS,))
    if isinstance(items, list) and items and all(isinstance(each, str) for each in items):
        # An answer that was cut at blank lines: an item may lie in several pieces.
        whole = "\n\n".join(items)
        items = whole if _FIELD.search(whole) else [{"content": each} for each in items]
    if isinstance(items, str):
        yield from _of_markdown(items, line, about, lines=False)
    elif isinstance(items, list) and items:
        for each in items:
            yield _of_object(line, each, about)
    else:
        yield Item(line, fault=f"{_ITEMS!r} holds no items")


def _of_object(line: int, item: Any, about: Mapping[str, Any]) -> Item:
    if not isinstance(item, dict):
        return Item(line, fault=f"an item is not an object but {kind_of(item)}")
    created = item.get("created_at")
    return Item(
        line,
        content=item.get("content"),
        when=item.get("when_to_use"),
        pitfall=says_pitfall(item.get("category"), item.get("type")),
        created=about.get("created_at") if created is None else created,
        fields=merged(item, about, without=("content", "when_to_use")),
    )


def _of_markdown(
    text: str, first: int, about: Mapping[str, Any], *, lines: bool = True
) -> Iterator[Item]:
    """The items of a text. With `lines`, each is found on its own line; else all on the first."""
    heads = [found.start() for found in _HEAD.finditer(text)]
    if not heads and (alone := _FIELD.search(text)):
        heads = [alone.start()]
    if not heads and (text.strip() or not lines):
        yield Item(first, fault="no memory item: # Memory Item, ## Content is needed")
    line, seen = first, 0
    for begin, end in pairwise([*heads, len(text)]):
        line, seen = line + (text.count("\n", seen, begin) if lines else 0), begin
        fields = _sections(text[begin:end])
        if "content" in fields:
            yield _of_object(line, fields, about)
        else:
            yield Item(line, fault="a memory item without ## Content")


def _sections(text: str) -> dict[str, str]:
    found = list(_FIELD.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    return {
        each[1].lower(): text[each.end() : end].strip().removesuffix("```").strip()
        for each, end in zip(
            found, ends, strict=False
        )  # an end is left over where nothing is found
    }
