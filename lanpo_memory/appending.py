"""A JSON Lines file that only grows, belongs to one process at a time, and outlives a kill."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import parsed_line

__all__ = ["AppendedLines"]


class AppendedLines:
    """Appends rows durably; on opening it reads what is there and mends a half last line.

    Half a line at the end, left by a kill, is taken off; a last line that lacks only its end gets
    it. Nothing else that is there is changed.

    Args:
        path: the file, made where it is missing.
        mark: what stands under ``format``, the first key of each row: a last line that does not
            begin so is no half line of ours.
        take: called with each row that is there; an `InvalidInputError` of it is given its place.
        instead: what messages advise where the file cannot be used.

    Raises:
        InvalidInputError: the file holds something else, another process writes to it, or it
            cannot be read or written. It was not touched then.

    >>> import tempfile
    >>> path, there = Path(tempfile.mkdtemp()) / "notes.jsonl", []
    >>> lines = AppendedLines(path, mark="note", take=there.append)
    >>> lines.append([{"format": "note", "text": "a"}])
    >>> lines.close()
    >>> AppendedLines(path, mark="note", take=there.append).close()
    >>> there
    [{'format': 'note', 'text': 'a'}]
    """

    def __init__(
        self,
        path: Path,
        *,
        mark: str,
        take: Callable[[Any], None],
        instead: str = "write to another file",
    ) -> None:
        self.path = path
        self._start = json.dumps({"format": mark})[:-1].encode()
        self._instead = instead
        self._whole = 0  # bytes in whole lines
        self._ends = b""  # what the last whole line lacks
        try:
            if path.exists() and not path.is_file():
                raise InvalidInputError(f"{path} is no plain file; {instead}")
            self._file = path.open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock()
            self._read(take)
            self._file.truncate(self._whole)
            self._file.write(self._ends)
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    def close(self) -> None:
        """Let go of the file and its lock."""
        with contextlib.suppress(OSError):  # what a full disk refused, and was said to be refused
            self._file.close()

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def rows(self) -> Iterator[Any]:
        """Yield every row, in the order they were written."""
        self._file.flush()
        with self.path.open("rb") as file:
            for raw in file:
                if raw.strip():
                    yield parsed_line(raw)

    def _lock(self) -> None:
        """Keep other commands out; the system lets go of it when the file is closed."""
        try:
            import fcntl
        except ImportError:  # Windows, where an open file is not shared anyway
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(
                f"another command is writing to {self.path}; wait for it, or {self._instead}"
            ) from None

    def _read(self, take: Callable[[Any], None]) -> None:
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n") and self._is_half(raw):
                    return
                if raw.strip():
                    self._taken(raw, number, take)
                self._whole += len(raw)
                self._ends = b"" if raw.endswith(b"\n") else b"\n"

    def _taken(self, raw: bytes, number: int, take: Callable[[Any], None]) -> None:
        try:
            take(parsed_line(raw))
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{self.path}, line {number}: {error}. The file was not touched; {self._instead}"
            ) from None

    def _is_half(self, raw: bytes) -> bool:
        """Whether a line without an end is the beginning of one of ours, and not all of it."""
        if not raw.startswith(self._start[: len(raw)]):
            return False
        try:
            parsed_line(raw)
        except InvalidInputError:
            return True
        return False

    def _unwritable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(f"cannot write {self.path}: {error.strerror or error}")
