"""Solutions in a JSON Lines file that grows batch by batch and outlives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import parsed_line
from lanpo_memory.types import Solution

__all__ = ["FORMAT", "SolutionFile", "row_of", "solution_of"]

FORMAT = "lanpo-solution"
_SOLVED_WITH = ("model", "settings")
_START = json.dumps({"format": FORMAT})[:-1].encode()  # how each line begins

Key = tuple[str, str, str, str]  # problem id, mode, model, settings


def row_of(solution: Solution, model: str, settings: str) -> dict[str, Any]:
    """Return a solution as a line's object: its fields, and what it was solved with.

    Args:
        solution: what becomes the line.
        model: the name of the model.
        settings: a fingerprint of all else that decided the answer.
    """
    solved_with = {"model": model, "settings": settings}
    return {"format": FORMAT, **solved_with, **solution.model_dump(mode="json")}


def solution_of(row: Any) -> Solution:
    """Return the solution that a line's object holds.

    Raises:
        InvalidInputError: it holds none.
    """
    if not isinstance(row, dict) or row.get("format") != FORMAT:
        raise InvalidInputError("the line holds no solution")
    if not all(isinstance(row.get(name), str) for name in _SOLVED_WITH):
        raise InvalidInputError("the line does not say which model solved it with which settings")
    return Solution(**{name: row[name] for name in row.keys() - {"format", *_SOLVED_WITH}})


class SolutionFile:
    """Where solutions go: what is acknowledged is on the disk, and nothing is written over.

    Half a last line, left by a kill, is taken off before more is written. A whole file of anything
    else is refused, and not touched. `finished` says what stands in it, and what it was solved
    with: problem id, mode, model, settings.

    Raises:
        InvalidInputError: the file holds something else, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: set[Key] = set()
        self._whole = 0  # bytes in whole lines
        self._ends = b""  # what the last whole line lacks
        try:
            if path.exists() and not path.is_file():
                raise InvalidInputError(f"{path} is no plain file; write solutions to one")
            self._file = path.open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock()
            self._read()
            self._mend()
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    def __enter__(self) -> SolutionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, solutions: Sequence[Solution], *, model: str, settings: str) -> None:
        """Append solutions; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        rows = [row_of(each, model, settings) for each in solutions]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self.finished |= {(each.problem.id, each.mode, model, settings) for each in solutions}

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
                f"another command is writing to {self.path}; wait for it, or write to another file"
            ) from None

    def _mend(self) -> None:
        self._file.truncate(self._whole)
        self._file.write(self._ends)

    def _read(self) -> None:
        for number, raw in enumerate(self._lines(), 1):
            if not raw.endswith(b"\n") and self._is_half(raw):
                return
            if raw.strip():
                self._take(raw, number)
            self._whole += len(raw)
            self._ends = b"" if raw.endswith(b"\n") else b"\n"

    def _take(self, raw: bytes, number: int) -> None:
        try:
            row = parsed_line(raw)
            solution = solution_of(row)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{self.path}, line {number}: {error}. The file was not touched; write to another"
            ) from None
        self.finished.add((solution.problem.id, solution.mode, row["model"], row["settings"]))

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from file

    def _is_half(self, raw: bytes) -> bool:
        """Whether a line without an end is the beginning of one of ours, and not all of it."""
        if not raw.startswith(_START[: len(raw)]):
            return False
        try:
            parsed_line(raw)
        except InvalidInputError:
            return True
        return False

    def _unwritable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(f"cannot write {self.path}: {error.strerror or error}")
