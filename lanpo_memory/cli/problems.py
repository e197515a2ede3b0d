"""Problems from a file: what a calibration is asked with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import parsed_line
from lanpo_memory.types import Problem

__all__ = ["COLUMNS", "read_problems"]

COLUMNS = ("problem", "question", "text")
"""Where a line's object may hold the problem; the first that is there counts."""


def read_problems(path: Path) -> tuple[list[Problem], list[str]]:
    """Return the distinct problems of a JSON Lines file, and what is wrong with its other lines.

    A line is an object with one of `COLUMNS`, or a string. No other column is read.

    Raises:
        InvalidInputError: the file cannot be opened, or no line of it can be read.
    """
    problems: dict[str, Problem] = {}
    errors: list[str] = []
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    _take(raw, f"{path}, line {number}", problems, errors)
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error
    if not problems:
        raise InvalidInputError(errors[0] if errors else f"{path} holds no problems; it is empty")
    return list(problems.values()), errors


def _take(raw: bytes, where: str, problems: dict[str, Problem], errors: list[str]) -> None:
    try:
        problem = Problem(text=_text(parsed_line(raw)))
    except InvalidInputError as error:
        errors.append(f"{where}: {error}")
    else:
        problems.setdefault(problem.id, problem)


def _text(row: Any) -> str:
    if isinstance(row, dict):
        row = next((row[name] for name in COLUMNS if row.get(name) is not None), None)
    if not isinstance(row, str):
        raise InvalidInputError(
            f"no text of a problem: give a string, or an object with one of {', '.join(COLUMNS)}"
        )
    return row
