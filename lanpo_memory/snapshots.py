"""A pool as one JSON Lines file: a header, then every record. Plain data, no code is ever run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lanpo_memory.errors import (
    InvalidInputError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.types import (
    SCHEMA_VERSION,
    Attempt,
    Batch,
    Experience,
    Exposure,
    FailedAnswer,
)

__all__ = ["FORMAT", "read_snapshot", "write_lines"]

FORMAT = "lanpo-pool"
_RECORDS: dict[str, tuple[str, type[Any]]] = {
    "experience": ("experiences", Experience),
    "attempt": ("attempts", Attempt),
    "exposure": ("exposures", Exposure),
    "failure": ("failures", FailedAnswer),
}


def write_lines(path: str | Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON Lines: the file appears whole or not at all.

    Raises:
        PoolWriteError: the folder is missing or the disk refused.
    """
    target = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise PoolWriteError(f"cannot write {target}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError as error:
        raise PoolWriteError(f"cannot write {target}: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def read_snapshot(path: str | Path) -> tuple[dict[str, Any], Batch]:
    """Read a snapshot's header and records.

    Raises:
        PoolNotFoundError: there is no such file.
        PoolFormatError: it is no snapshot, or a line of it cannot be read; the line is named.
        PoolVersionError: it was written by a newer version.
    """
    source = Path(path)
    if not source.is_file():
        raise PoolNotFoundError(f"there is no snapshot at {source}")
    found: dict[str, list[Any]] = {name: [] for name, _ in _RECORDS.values()}
    header: dict[str, Any] | None = None
    with source.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if header is None:
                    header = _header(source, line)
                else:
                    _record(source, number, line, found)
        except UnicodeDecodeError as error:
            raise PoolFormatError(f"{source} is no snapshot: it is not UTF-8 text") from error
    if header is None:
        raise PoolFormatError(f"{source} is empty")
    return header, Batch(**{name: tuple(records) for name, records in found.items()})


def _header(source: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise PoolFormatError(f"{source} is no pool snapshot: its first line is no header")
    version = header.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise PoolVersionError(
            f"{source} has schema version {version}, this code knows {SCHEMA_VERSION}. "
            "Update with: pip install -U lanpo"
        )
    return header


def _record(source: Path, number: int, line: str, found: dict[str, list[Any]]) -> None:
    try:
        data = json.loads(line)
        name, model = _RECORDS[data.pop("kind")]
        found[name].append(model(**data))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidInputError) as error:
        raise PoolFormatError(f"{source}, line {number} cannot be read: {error}") from error
