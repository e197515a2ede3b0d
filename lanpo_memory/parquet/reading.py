"""Reading a folder back: every record checked, or a typed error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lanpo_memory.comparison import KINDS
from lanpo_memory.errors import PoolFormatError, PoolNotFoundError, PoolVersionError
from lanpo_memory.parquet.columns import fields_of, file_of, loaded, schema_of
from lanpo_memory.parquet.writing import LAYOUT, MANIFEST, hash_of
from lanpo_memory.snapshots import FORMAT, RecordReader, check_version
from lanpo_memory.types import Batch

__all__ = ["header_of", "is_folder", "read_folder"]

_ROWS = 1_000  # at once


def read_folder(folder: str | Path) -> tuple[dict[str, Any], Batch]:
    """Return the header and all records of a folder that `write_folder` wrote.

    Raises:
        MissingExtraError: `pyarrow` is not installed.
        PoolFormatError: it is no such folder, or a file of it is damaged, changed or missing.
        PoolNotFoundError: there is no such folder.
        PoolVersionError: it was written by a newer version.
    """
    source = Path(folder)
    if not source.is_dir():
        raise PoolNotFoundError(f"there is no folder {source}")
    header = header_of(source)
    loaded()
    reader = RecordReader(source)
    for kind in (*KINDS, "problem"):
        _check(source, kind, header)
    for kind in KINDS:
        for number, row in enumerate(_rows(source, kind), 1):
            reader.take(f"{file_of(kind)}, row {number}", partial(fields_of, kind, row))
    return header, reader.batch(header)


def is_folder(folder: str | Path) -> bool:
    """Tell whether a folder looks like one that `write_folder` wrote; it may be damaged still."""
    return Path(folder, MANIFEST).is_file()


def header_of(folder: str | Path) -> dict[str, Any]:
    """Return the header of such a folder.

    Raises:
        PoolFormatError: it is no such folder.
        PoolVersionError: it was written by a newer version.
    """
    source = Path(folder)
    try:
        header = json.loads((source / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise PoolFormatError(
            f"cannot read {source}: it is a folder without a {MANIFEST}, and not one that `lanpo "
            "pool export --format parquet` wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise PoolFormatError(f"cannot read {source / MANIFEST}: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise PoolFormatError(f"cannot read {source}: its {MANIFEST} is not that of a pool")
    check_version(source, header)
    layout = header.get("layout")
    if not isinstance(layout, int) or layout > LAYOUT:
        raise PoolVersionError(
            f"{source} has layout {layout}, this code knows {LAYOUT}. "
            "Update with: pip install -U lanpo"
        )
    return header


def _check(source: Path, kind: str, header: dict[str, Any]) -> None:
    """Refuse a file that is not as it was written: the digest does not cover everything."""
    name = file_of(kind)
    try:
        found = hash_of(source / name)
    except OSError as error:
        raise PoolFormatError(f"cannot read {source / name}: {error.strerror}") from error
    hashes = header.get("sha256")
    if not isinstance(hashes, dict) or hashes.get(name) != found:
        raise PoolFormatError(
            f"{source / name} is damaged, or was changed since it was written: it does not match "
            f"{MANIFEST}. Take another copy of the folder"
        )


def _rows(source: Path, kind: str) -> Iterator[dict[str, Any]]:
    pa, path = loaded(), source / file_of(kind)
    try:
        with pa.parquet.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema_of(kind)):
                raise PoolFormatError(f"{path} has other columns than a pool's {kind}s")
            for portion in file.iter_batches(batch_size=_ROWS):
                yield from portion.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise PoolFormatError(f"cannot read {path}: {error}") from error
