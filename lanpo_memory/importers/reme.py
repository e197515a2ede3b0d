"""Task memories of ReMe: one object a line, or a list; as memories or as nodes of its vector store.

A memory has ``when_to_use``, ``content``, ``score`` and ``metadata``. A node has the same, the
condition as its own ``content`` and everything else in its ``metadata``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanpo_memory.importers.documents import Row, rows_of
from lanpo_memory.importers.fields import kind_of
from lanpo_memory.importers.items import Item, merged, says_pitfall

__all__ = ["read_reme"]

_INSIDE = ("memories", "memory_list", "nodes")


def read_reme(path: Path) -> Iterator[Item]:
    """Yield the memories of a file, in order."""
    for row in rows_of(path, inside=_INSIDE):
        yield _item(row)


def _item(row: Row) -> Item:
    if row.fault or not isinstance(row.value, dict):
        fault = row.fault or f"not a JSON object but {kind_of(row.value)}"
        return Item(row.line, fault=fault)
    memory = _unpacked(row.value)
    nested = memory.get("metadata")
    inner: Mapping[str, Any] = nested if isinstance(nested, dict) else {}
    created = (*map(memory.get, ("time_created", "created_at")), inner.get("created_time"))
    return Item(
        row.line,
        content=memory.get("content"),
        when=memory.get("when_to_use"),
        pitfall=says_pitfall(memory.get("category"), inner.get("category")),
        created=next((time for time in created if time is not None), None),
        fields=merged(memory, without=("content", "when_to_use")),
    )


def _unpacked(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The memory that a node of the vector store holds; any other object as it is."""
    inner = value.get("metadata")
    is_node = "when_to_use" not in value and isinstance(inner, dict) and "content" in inner
    if not is_node or not isinstance(inner, dict):
        return value
    return {**merged(value, without=("content", "metadata")), "when_to_use": value.get("content"),
            **inner}  # fmt: skip
