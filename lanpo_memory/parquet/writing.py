"""Writing a pool to a folder, in portions that fit into memory."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lanpo_memory.comparison import KINDS
from lanpo_memory.errors import InvalidInputError, PoolError, PoolWriteError
from lanpo_memory.parquet.card import CARD, card_of
from lanpo_memory.parquet.columns import file_of, loaded, row_of, schema_of
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.snapshots import sync_folder
from lanpo_memory.types import Experience, Problem

__all__ = ["LAYOUT", "MANIFEST", "hash_of", "write_folder"]

MANIFEST = "pool.json"
LAYOUT = 1
"""Version of the columns."""
_ROWS = 1_000
_CHARS = 16_000_000
"""A portion ends at so many rows or characters: texts of 2,000,000 characters are allowed."""


def write_folder(pool: ExperiencePool, folder: str | Path) -> Path:
    """Write everything a pool holds, as of one moment, to a new folder; return its path.

    The folder appears whole or not at all. `datasets.load_dataset(folder, "experiences")` reads
    it, and `read_folder` gives every record back.

    Raises:
        InvalidInputError: there is something at this place already, or a number that no column
            holds.
        MissingExtraError: `pyarrow` is not installed.
        PoolWriteError: the folder around it is missing, or the disk refused.

    >>> from lanpo_memory import Experience, ExperiencePool, Problem
    >>> pool = ExperiencePool()
    >>> lesson = Experience(problem=Problem(text="Sum 1 to 9"), thoughts="Pair the ends.")
    >>> receipts = pool.add([lesson])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     path = write_folder(pool, Path(place, "lessons"))
    ...     sorted(file.name for file in path.iterdir())[:3]
    ['README.md', 'attempts.parquet', 'experiences.parquet']
    """
    target = Path(folder)
    loaded()
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InvalidInputError(f"{target} is there already; name a new folder")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
            made = Path(place, "folder")
            made.mkdir()
            _fill(pool, made)
            made.replace(target)
        sync_folder(target.parent)
    except PoolError:  # some are an OSError: the pool's own trouble, not the folder's
        raise
    except OSError as error:
        raise PoolWriteError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _fill(pool: ExperiencePool, folder: Path) -> None:
    with pool.store.view():
        header = next(pool.records())
        rows: dict[str, int] = {}
        rows |= {kind: _write(folder, kind, pool.store.scan(kind)) for kind in KINDS}
        rows["problem"] = _write(folder, "problem", _problems(pool.store.scan("experience")))
    files = {file_of(kind): hash_of(folder / file_of(kind)) for kind in rows}
    manifest = {**header, "layout": LAYOUT, "sha256": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card_of(header, rows), encoding="utf-8")
    for file in folder.iterdir():
        with file.open("rb+") as written:
            os.fsync(written.fileno())
    sync_folder(folder)


def _problems(experiences: Iterable[Experience]) -> Iterator[Problem]:
    seen: set[str] = set()
    for experience in experiences:
        if experience.problem.id not in seen:
            seen.add(experience.problem.id)
            yield experience.problem


def _write(folder: Path, kind: str, records: Iterable[Any]) -> int:
    """Write one file; return its number of rows."""
    pa, schema, total = loaded(), schema_of(kind), 0
    with pa.parquet.ParquetWriter(folder / file_of(kind), schema, compression="zstd") as file:
        for rows in _portions(map(row_of, records)):
            try:
                portion = pa.RecordBatch.from_pylist(rows, schema=schema)
            except (pa.ArrowInvalid, OverflowError) as error:
                raise InvalidInputError(
                    f"a number among the {kind}s is too large for a column ({error}); export to "
                    "JSON Lines instead"
                ) from error
            file.write_batch(portion, row_group_size=_ROWS)
            total += len(rows)
    return total


def _portions(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    portion: list[Mapping[str, Any]] = []
    chars = 0
    for row in rows:
        portion.append(row)
        chars += sum(map(_length, row.values()))
        if len(portion) >= _ROWS or chars >= _CHARS:
            yield portion
            portion, chars = [], 0
    if portion:
        yield portion


def _length(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 8


def hash_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
