"""Pools of other memories, read item by item. Nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers.ace import read_ace
from lanpo_memory.importers.documents import opened
from lanpo_memory.importers.items import Entry, Item, entry_of
from lanpo_memory.importers.mem0 import read_mem0
from lanpo_memory.importers.reasoningbank import read_reasoningbank
from lanpo_memory.importers.reme import read_reme

__all__ = ["POOL_FORMATS", "read_experiences"]

POOL_FORMATS: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    "ace": read_ace,
    "mem0": read_mem0,
    "reasoningbank": read_reasoningbank,
    "reme": read_reme,
}
"""How to find the items of another memory's pool, by the name of the format."""


def read_experiences(
    path: str | Path,
    format: str,  # noqa: A002 - the word that users look for
) -> Iterator[Entry]:
    r"""Yield one `Entry` for each item of another memory's pool.

    Each item is about a problem of its own: ``when_to_use`` where it has one, else what it says.
    That becomes a principle, or a pitfall where its section says so. What else is known of it goes
    into ``metadata.extra``: scalars as they are, nested values as JSON text. Fields that look like
    a reference answer are dropped at any depth, and named.

    Formats:
        ``reme``: task memories of ReMe. ``mem0``: exports of mem0. ``ace``: playbooks of ACE.
        ``reasoningbank``: items of ReasoningBank, as JSON or Markdown.

    Raises:
        InvalidInputError: the format is unknown or the file cannot be opened; at once. A bad item
            raises nothing.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name, "playbook.txt")
    >>> _ = file.write_text("## COMMON MISTAKES\n[err-1] helpful=2 harmful=0 :: Adding hours.")
    >>> [entry.experience.pitfalls for entry in read_experiences(file, "ace")]
    [('Adding hours.',)]
    >>> folder.cleanup()
    """
    if format not in POOL_FORMATS:
        known = ", ".join(sorted(POOL_FORMATS))
        raise InvalidInputError(f"unknown format {format!r}; known formats of pools: {known}")
    opened(Path(path)).close()  # a wrong path fails here and not at the first item
    if not Path(path).is_file():
        raise InvalidInputError(f"{path} is no plain file; write it to one first")
    return _entries(Path(path), format)


def _entries(path: Path, format_: str) -> Iterator[Entry]:
    for item in POOL_FORMATS[format_](path):
        yield entry_of(path, item, format_)
