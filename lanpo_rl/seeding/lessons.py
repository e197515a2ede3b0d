"""Lessons that a teacher wrote, in a file that TRL's trainers read as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import parsed_line
from lanpo_memory.types import Messages

__all__ = ["LESSON_FORMAT", "WrittenLesson", "check_lesson_file", "read_lessons", "save_lessons"]

LESSON_FORMAT = "lanpo-lesson"
_SHOWN = 5  # bad lines named in one error


@dataclass(frozen=True, slots=True)
class WrittenLesson:
    """One supervised example: a prompt of the method, and the completion to learn.

    `skill` is one of ``summarise``, ``inter``, ``intra`` where `LessonWriter` made it; a file from
    elsewhere may name others.
    """

    skill: str
    prompt: Messages
    completion: str
    problem_id: str = ""
    teacher: str = ""

    def row(self) -> dict[str, Any]:
        """Return the object of a line: TRL's columns ``prompt`` and ``completion``, and the rest.

        >>> WrittenLesson("inter", [{"role": "user", "content": "2 + 3?"}], "5").row()["completion"]
        [{'role': 'assistant', 'content': '5'}]
        """
        return {
            "format": LESSON_FORMAT,
            "skill": self.skill,
            "prompt": self.prompt,
            "completion": [{"role": "assistant", "content": self.completion}],
            "problem_id": self.problem_id,
            "teacher": self.teacher,
        }


def save_lessons(path: Path, lessons: Sequence[WrittenLesson]) -> None:
    """Write lessons as JSON Lines, whole or not at all.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    text = "".join(json.dumps(lesson.row(), ensure_ascii=False) + "\n" for lesson in lessons)
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error


def check_lesson_file(path: Path) -> None:
    """Refuse a path where something else than lessons stands: it would be written over.

    Raises:
        InvalidInputError: it does, or it cannot be read.
    """
    try:
        if not path.exists():
            return
        with path.open("rb") as file:
            first = file.readline()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
    if first.strip() and f'"{LESSON_FORMAT}"'.encode() not in first:
        raise InvalidInputError(f"{path} holds something else and would be written over; move it")


def read_lessons(path: Path) -> list[WrittenLesson]:
    """Read lessons from JSON Lines with ``prompt`` and ``completion``, as text or as messages.

    Raises:
        InvalidInputError: the file cannot be read, holds nothing, or a line is no lesson; the
            first such lines are named.
    """
    lessons: list[WrittenLesson] = []
    faults: list[str] = []
    for place, raw in _lines(path):
        try:
            lessons.append(_lesson(parsed_line(raw)))
        except InvalidInputError as error:
            faults.append(f"{place}: {error}")
    if faults:
        more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
        raise InvalidInputError(f"{len(faults)} lines are no lessons:{shown}{more}")
    if not lessons:
        raise InvalidInputError(f"{path} holds no lessons; it is empty")
    return lessons


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield f"{path}, line {number}", raw
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error


def _lesson(row: Any) -> WrittenLesson:
    if not isinstance(row, dict):
        raise InvalidInputError("not a JSON object")
    return WrittenLesson(
        skill=str(row.get("skill", "")),
        prompt=_prompt(row.get("prompt")),
        completion=_completion(row.get("completion")),
        problem_id=str(row.get("problem_id", "")),
        teacher=str(row.get("teacher", "")),
    )


def _prompt(value: Any) -> Messages:
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}]
    if isinstance(value, list) and value and all(map(_is_message, value)):
        return [{"role": m["role"], "content": m["content"]} for m in value]
    raise InvalidInputError("no prompt: give a text, or messages with role and content")


def _completion(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1 and _is_message(value[0]):
        value = value[0]["content"]
    if isinstance(value, str) and value.strip():
        return value
    raise InvalidInputError("no completion: give a text, or one message of the assistant")


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("role", "content")
    )
