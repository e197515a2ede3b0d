"""`lanpo pool export`, `restore` and `rm`: out of a pool, and into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanpo_memory.cli.common import (
    NamespaceOption,
    PoolOption,
    command,
    found_by_id,
    look_into,
    spared,
)
from lanpo_memory.cli.terminal import to_screen
from lanpo_memory.comparison import KINDS, SnapshotRecords
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.merging import replace
from lanpo_memory.parquet import header_of, is_folder, read_folder, write_folder
from lanpo_memory.snapshots import read_header
from lanpo_memory.stores import shown
from lanpo_memory.types import Batch

__all__ = ["export", "restore", "rm"]


@command()
def export(
    file: Annotated[
        Path,
        typer.Argument(help="Where to write; in a folder the file is named by the digest."),
    ],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    format: Annotated[  # noqa: A002 - as in `lanpo pool import`
        str,
        typer.Option(
            metavar="NAME",
            help="jsonl: one file. parquet: a new folder that `datasets.load_dataset` reads.",
        ),
    ] = "jsonl",
) -> None:
    """Write everything a pool holds to one JSON Lines file, whole or not at all.

    `lanpo pool import` reads it back, and `lanpo pool restore` replaces a pool by it. With
    `--format parquet` it becomes a folder of Parquet files.

    Example: lanpo pool export pool.jsonl --pool pool.db
    """
    if format not in ("jsonl", "parquet"):
        raise InvalidInputError(f"unknown format {format!r}; known formats: jsonl, parquet")
    with look_into(pool, namespace) as opened:
        if format == "parquet":
            path = write_folder(opened, file)
            written = header_of(path)
        else:
            path = opened.snapshot(_replaceable(file))
            written = read_header(path) or {}
    to_screen().print(
        f"wrote {written['experiences']:,} experiences to {path}, digest {written['digest']}"
    )


def _replaceable(file: Path) -> Path:
    """Where an export may be written: an earlier one is replaced, nothing else is."""
    if spared(file).is_file() and read_header(file) is None:
        raise InvalidInputError(f"{file} is there already and is no export; name a new file")
    return file


@command()
def restore(
    snapshot: Annotated[
        Path, typer.Argument(help="A file or folder that `lanpo pool export` wrote.")
    ],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    yes: Annotated[bool, typer.Option("--yes", help="Replace what the pool holds.")] = False,
) -> None:
    """Fill a pool with a snapshot, in one transaction. What it held before is gone.

    The pool is made if it is not there. One that holds anything is replaced with --yes only.

    Example: lanpo pool restore pool.jsonl --pool new.db
    """
    # What cannot be read makes no pool.
    saved = read_folder(snapshot)[1] if is_folder(snapshot) else SnapshotRecords(snapshot)
    with look_into(pool, namespace, create=True) as opened:
        held = {kind: opened.store.count(kind) for kind in KINDS}
        if any(held.values()) and not yes:
            counts = ", ".join(f"{n:,} {kind}s" for kind, n in held.items() if n)
            raise InvalidInputError(
                f"{shown(pool)} holds {counts} in namespace {namespace!r}; --yes replaces them"
            )
        if isinstance(saved, Batch):
            replace(opened, saved)
        else:
            opened.restore(saved.path)
        size, digest = len(opened), opened.digest()
    to_screen().print(f"restored {size:,} experiences to {shown(pool)}, digest {digest}")


@command()
def rm(
    ids: Annotated[list[str], typer.Argument(help="Ids of experiences, or the starts of them.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
) -> None:
    """Delete experiences. If one of the ids is unknown, nothing is deleted.

    Example: lanpo pool rm 2e9576e03876dfd95ad5 --pool pool.db
    """
    with look_into(pool, namespace) as opened:
        found = {found_by_id(opened, each).id for each in ids}
        opened.delete(sorted(found))
        console = to_screen()
        console.print(f"deleted {len(found):,}; the pool holds {len(opened):,} experiences")
