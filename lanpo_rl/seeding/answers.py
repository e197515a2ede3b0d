"""What a teacher said, in a file that grows answer by answer and outlives a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import parsed_line
from lanpo_memory.types import Messages

__all__ = ["ANSWER_FORMAT", "AnswerFile", "TeacherAnswer"]

ANSWER_FORMAT = "lanpo-teacher-answer"
_START = json.dumps({"format": ANSWER_FORMAT})[:-1].encode()  # how each line begins


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """One answer that was paid for.

    `question` is a fingerprint of what it answers: teacher, settings, skill and problem. A
    reference answer stands nowhere.
    """

    question: str
    teacher: str
    skill: str
    problem_id: str
    prompt: Messages
    text: str
    truncated: bool = False


_FIELDS = {field.name for field in fields(TeacherAnswer)}


class AnswerFile:
    """Where answers go: what is acknowledged is on the disk, and nothing is written over.

    Half a last line, left by a kill, is taken off before more is written. A file of anything else
    is refused, and not touched. `known` holds what stands in it, by question. One command at a
    time writes to it.

    Raises:
        InvalidInputError: the file holds something else, another command is writing to it, or it
            cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, TeacherAnswer] = {}
        self._whole = 0  # bytes in whole lines
        self._ends = b""  # what the last whole line lacks
        try:
            if path.exists() and not path.is_file():
                raise InvalidInputError(f"{path} is no plain file; move it out of the way")
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

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, answers: Sequence[TeacherAnswer]) -> None:
        """Append answers; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        rows = [{"format": ANSWER_FORMAT, **asdict(answer)} for answer in answers]
        try:
            self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self.known |= {answer.question: answer for answer in answers}

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
                f"another command is writing to {self.path}; wait for it, or name another --out"
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

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from file

    def _take(self, raw: bytes, number: int) -> None:
        try:
            answer = _answer(parsed_line(raw))
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{self.path}, line {number}: {error}. The file was not touched; name another --out"
            ) from None
        self.known[answer.question] = answer

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


def _answer(row: Any) -> TeacherAnswer:
    if not isinstance(row, dict) or row.get("format") != ANSWER_FORMAT:
        raise InvalidInputError("the line holds no answer of a teacher")
    given = {name: row[name] for name in row.keys() - {"format"}}
    if given.keys() != _FIELDS or not isinstance(given["prompt"], list):
        raise InvalidInputError("the line lacks a part of the answer, or holds more than one")
    return TeacherAnswer(**given)
