"""Solutions in a JSON Lines file that grows batch by batch and outlives a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanpo_memory.appending import AppendedLines
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Solution

__all__ = ["FORMAT", "SolutionFile", "row_of", "solution_of"]

FORMAT = "lanpo-solution"
_SOLVED_WITH = ("model", "settings")

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
        self._lines = AppendedLines(path, mark=FORMAT, take=self._take)

    def __enter__(self) -> SolutionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def write(self, solutions: Sequence[Solution], *, model: str, settings: str) -> None:
        """Append solutions; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        self._lines.append([row_of(each, model, settings) for each in solutions])
        self.finished |= {(each.problem.id, each.mode, model, settings) for each in solutions}

    def _take(self, row: Any) -> None:
        solution = solution_of(row)
        self.finished.add((solution.problem.id, solution.mode, row["model"], row["settings"]))
