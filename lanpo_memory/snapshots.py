"""A pool as one JSON Lines file: a header, every record, a footer. Plain data, no code is run."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lanpo_memory.errors import (
    PoolError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.legacy import id_1, renamed
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    Exposure,
    FailedAnswer,
    normalise,
)

__all__ = [
    "FORMAT",
    "RecordReader",
    "check_version",
    "digest_of",
    "digest_of_store",
    "header",
    "holds_pool",
    "read_header",
    "read_snapshot",
    "records_of",
    "sync_folder",
    "write_snapshot",
    "write_whole",
]

FORMAT = "lanpo-pool"
_SQLITE = b"SQLite format 3\0"
# From 2 on a footer with the number of lines before it and their hash; from 3 on failed answers
# with what it takes to read them again.
_VERSION = 3
_RECORDS: dict[str, tuple[str, type[Any]]] = {
    "experience": ("experiences", Experience),
    "attempt": ("attempts", Attempt),
    "exposure": ("exposures", Exposure),
    "failure": ("failures", FailedAnswer),
}


def _id(experience: Experience) -> str:
    return experience.id


def digest_of(
    experiences: Iterable[Experience],
    attempts: Iterable[Attempt],
    exposures: Iterable[Exposure],
    identify: Callable[[Experience], str] = _id,
) -> str:
    """Hash the content of a pool, whose records come in the order in which they were written."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for e in experiences:
        m = e.metadata
        lines[e.problem.id].append(
            json.dumps(["e", identify(e), m.step, m.reward, m.correct, m.parents])
        )
    for a in attempts:
        lines[a.problem.id].append(json.dumps(["a", a.id, a.step]))
    for x in exposures:
        lines[x.problem_id].append(json.dumps(["x", x.id, x.guided, x.scratch, x.group_size]))
    hashed, comma = hashlib.sha256(b"["), ""
    for problem_id in sorted(lines):
        part = f"{comma}[{json.dumps(problem_id)}, [{', '.join(lines[problem_id])}]]"
        hashed.update(part.encode())
        comma = ", "
    hashed.update(b"]")
    return hashed.hexdigest()


def digest_of_store(store: ExperienceStore) -> str:
    """Hash the content of a store, as of one moment."""
    with store.view():
        return digest_of(store.scan("experience"), store.scan("attempt"), store.scan("exposure"))


def header(
    *,
    digest: str,
    experiences: int,
    embedder: str | None = None,
    counts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the first line of a snapshot.

    `embedder` is the fingerprint of the embedder that the pool belongs to; its vectors are no part
    of a snapshot. `counts` are those of all kinds of records.
    """
    return {
        "format": FORMAT,
        "schema_version": _VERSION,
        "digest": digest,
        "experiences": experiences,
        "embedder": embedder,
        **({} if counts is None else {"counts": dict(counts)}),
    }


def write_snapshot(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write a header and records: the file appears whole or not at all. Returns its path.

    In an existing folder the file is named by the digest in the header.

    Raises:
        PoolWriteError: the folder is missing or the disk refused.
    """
    lines = iter(records)
    first = next(lines)
    target = path / f"{first['digest']}.jsonl" if path.is_dir() else path
    _write(target, _with_footer(first, lines))
    return target


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all, and is on the disk afterwards.

    Raises:
        PoolWriteError: the folder is missing or the disk refused.
    """
    _write(path, [text.encode()])


def _write(target: Path, lines: Iterable[bytes]) -> None:
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise PoolWriteError(f"cannot write {target}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for line in lines:
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
        sync_folder(target.parent)
    except PoolError:  # some are an OSError: the trouble of the pool that is read, not the file's
        raise
    except OSError as error:
        raise PoolWriteError(f"cannot write {target}: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _with_footer(first: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    hashed, count = hashlib.sha256(), 0
    for record in chain([first], records):
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        hashed.update(line)
        count += 1
        yield line
    footer = {"kind": "end", "lines": count, "sha256": hashed.hexdigest()}
    yield json.dumps(footer).encode() + b"\n"


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last; where folders cannot be opened this is not needed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds_pool(path: str | Path) -> bool:
    """Tell whether a file is an SQLite file, which every pool is.

    A pool that is open somewhere is not touched: closing a second handle of a file drops the locks
    that this process may hold on it.
    """
    if Path(f"{path}-shm").exists():
        return True
    with Path(path).open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def read_header(path: str | Path) -> dict[str, Any] | None:
    """Return the header of a snapshot, `None` if the file is none.

    Raises:
        PoolVersionError: it was written by a newer version.
    """
    if holds_pool(path):
        return None
    with Path(path).open("rb") as file:
        line = file.readline(10_000)
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    check_version(path, found)
    return found


def check_version(path: str | Path, header: Mapping[str, Any]) -> None:
    """Refuse what newer code wrote.

    Raises:
        PoolVersionError: it did.
    """
    version = header.get("schema_version")
    if not isinstance(version, int) or version > _VERSION:
        raise PoolVersionError(
            f"{path} has schema version {version}, this code knows {_VERSION}. "
            "Update with: pip install -U lanpo"
        )


def read_snapshot(path: str | Path) -> Batch:
    """Read a snapshot's records, all of them checked.

    Raises:
        PoolNotFoundError: there is no such file.
        PoolFormatError: it is no snapshot, it is damaged, or a line of it cannot be read; the line
            is named.
        PoolVersionError: it was written by a newer version.
    """
    source = Path(path)
    if not source.is_file():
        raise PoolNotFoundError(f"there is no snapshot at {source}")
    first = read_header(source)
    if first is None:
        raise PoolFormatError(f"{source} is no pool snapshot: its first line is no header")
    reader = RecordReader(source)
    for number, line in records_of(source, footed=first["schema_version"] >= 2):
        reader.take(f"line {number}", partial(json.loads, line))
    return reader.batch(first)


def records_of(source: Path, *, footed: bool) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the text of every line between header and footer.

    Raises:
        PoolFormatError: at the end, if a footed file does not end in a footer that fits.
    """
    hashed, number, line = hashlib.sha256(), 0, b""
    with source.open("rb") as file:
        for following in file:
            if number:
                hashed.update(line)
            if number > 1:
                yield number, line
            number, line = number + 1, following
    if footed:
        _check_footer(source, line, number - 1, hashed.hexdigest())
    elif number > 1:
        yield number, line


def _check_footer(source: Path, line: bytes, lines: int, digest: str) -> None:
    try:
        footer = json.loads(line)
        stated = [footer[name] for name in ("kind", "lines", "sha256")]
    except (ValueError, KeyError, TypeError, RecursionError):
        stated = []
    if stated != ["end", lines, digest]:
        raise PoolFormatError(
            f"{source} is damaged: its footer, line {lines + 1}, does not match what stands above, "
            "or its end is missing. Take another copy of it"
        )


class RecordReader:
    """Takes the records of a saved pool one by one and refuses what does not fit together."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._found: dict[str, dict[str, Any]] = {name: {} for name, _ in _RECORDS.values()}
        self._texts: dict[str, str] = {}

    def take(self, place: str, read: Callable[[], dict[str, Any]]) -> None:
        """Take the record that `read` returns: its fields, with its `kind` among them.

        Raises:
            PoolFormatError: it cannot be read, or contradicts an earlier one; `place` is named.
        """
        try:
            self._record(read())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PoolFormatError(f"{self._source}, {place} cannot be read: {error}") from error

    def _record(self, data: dict[str, Any]) -> None:
        name, model = _RECORDS[data.pop("kind")]
        record = model(**data)
        if record.id in self._found[name]:
            raise ValueError(f"id {record.id} stands there twice")
        if isinstance(record, Experience | Attempt):
            problem = record.problem
            text = normalise(problem.text)
            if self._texts.setdefault(problem.id, text) != text:
                raise ValueError(f"problem id {problem.id!r} stands there with another text")
        self._found[name][record.id] = record

    def batch(self, first: Mapping[str, Any]) -> Batch:
        """Return all records, once every one was taken; `first` is the header.

        Raises:
            PoolFormatError: their digest is another one than the header's.
        """
        found = {name: tuple(records.values()) for name, records in self._found.items()}
        old = first["schema_version"] == 1
        digest = digest_of(
            found["experiences"], found["attempts"], found["exposures"], id_1 if old else _id
        )
        if digest != first.get("digest"):
            raise PoolFormatError(
                f"{self._source} is damaged: its content does not match its digest"
            )
        return Batch(**(_from_1(found) if old else found))


def _from_1(found: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """The records of a snapshot of version 1 with their experiences under today's ids."""
    new = {id_1(e): e.id for e in found["experiences"]}
    experiences = [
        e._with(metadata=e.metadata._with(parents=tuple(renamed(e.metadata.parents, new))))
        for e in found["experiences"]
    ]
    exposures = [
        x._with(experience_ids=tuple(renamed(x.experience_ids, new))) for x in found["exposures"]
    ]
    return {**found, "experiences": tuple(experiences), "exposures": tuple(exposures)}
