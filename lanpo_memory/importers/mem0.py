"""Exports of mem0: a list of memories, ``{"results": [...]}``, or one memory a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanpo_memory.importers.documents import Row, rows_of
from lanpo_memory.importers.fields import kind_of
from lanpo_memory.importers.items import Item, merged, says_pitfall

__all__ = ["read_mem0"]


def read_mem0(path: Path) -> Iterator[Item]:
    """Yield the memories of a file, in order."""
    for row in rows_of(path, inside=("results", "memories")):
        yield _item(row)


def _item(row: Row) -> Item:
    if row.fault or not isinstance(row.value, dict):
        fault = row.fault or f"not a JSON object but {kind_of(row.value)}"
        return Item(row.line, fault=fault)
    nested = row.value.get("metadata")
    inner: Mapping[str, Any] = nested if isinstance(nested, dict) else {}
    when = row.value.get("when_to_use")
    return Item(
        row.line,
        content=row.value.get("memory"),
        when=inner.get("when_to_use") if when is None else when,
        pitfall=says_pitfall(inner.get("category"), inner.get("type")),
        created=row.value.get("created_at"),
        fields=merged(row.value, without=("memory", "when_to_use")),
        key="memory",
    )
