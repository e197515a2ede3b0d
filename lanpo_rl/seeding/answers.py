"""What a teacher said, in a file that grows answer by answer and outlives a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lanpo_memory.appending import AppendedLines
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Messages

__all__ = ["ANSWER_FORMAT", "AnswerFile", "TeacherAnswer"]

ANSWER_FORMAT = "lanpo-teacher-answer"


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
        self._file = AppendedLines(
            path, mark=ANSWER_FORMAT, take=self._take, instead="choose another folder"
        )

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, so that another command may write to it."""
        self._file.close()

    def write(self, answers: Sequence[TeacherAnswer]) -> None:
        """Append answers; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        self._file.append([{"format": ANSWER_FORMAT, **asdict(answer)} for answer in answers])
        self.known |= {answer.question: answer for answer in answers}

    def _take(self, row: Any) -> None:
        answer = _answer(row)
        self.known[answer.question] = answer


def _answer(row: Any) -> TeacherAnswer:
    if not isinstance(row, dict) or row.get("format") != ANSWER_FORMAT:
        raise InvalidInputError("the line holds no answer of a teacher")
    given = {name: row[name] for name in row.keys() - {"format"}}
    if given.keys() != _FIELDS or not isinstance(given["prompt"], list):
        raise InvalidInputError("the line lacks a part of the answer, or holds more than one")
    return TeacherAnswer(**given)
