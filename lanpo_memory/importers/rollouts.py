"""Files of rollouts, read one line at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers.documents import opened
from lanpo_memory.importers.fields import (
    BadLineError,
    identifier,
    is_label,
    number,
    optional_text,
    parsed_line,
    row_of,
    step,
    text,
    truth,
)
from lanpo_memory.importers.gsm8k import read_gsm8k
from lanpo_memory.types import Problem, Rollout

__all__ = ["FORMATS", "Line", "read_rollouts"]


@dataclass(frozen=True)
class Line:
    """What one line of a file came to: rollouts, or an error; never both.

    `error` is a sentence with file, line number and fault. `dropped` names the columns of the line
    that look like reference answers; they were not read.
    """

    path: Path
    number: int
    rollouts: tuple[Rollout, ...] = ()
    error: str = ""
    dropped: tuple[str, ...] = ()


def read_rollouts(
    path: str | Path,
    format: str = "rollouts",  # noqa: A002 - the word that users look for
) -> Iterator[Line]:
    """Yield one `Line` for each line of a JSONL file that is not blank.

    Formats:
        ``rollouts``: one object a line: ``problem``, ``completion``; optional ``reward`` (number),
            ``correct`` (true or false), ``problem_id``, ``family``, ``step``, ``policy``. Columns
            that look like a reference answer are reported as dropped, all others are ignored.
        ``gsm8k-rollouts``: the published model solutions of GSM8K: ``question`` and four models'
            solutions a line, which become four rollouts in one group, with reward 1 or 0.

    Raises:
        InvalidInputError: the format is unknown or the file cannot be opened; at once, not at the
            first line. A bad line raises nothing.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = Path(folder.name, "few.jsonl")
    >>> _ = file.write_text('{"problem": "2 + 3?", "completion": "5", "reward": 1}')
    >>> [rollout.reward for line in read_rollouts(file) for rollout in line.rollouts]
    [1.0]
    >>> folder.cleanup()
    """
    if format not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise InvalidInputError(f"unknown format {format!r}; known formats: {known}")
    opened(Path(path)).close()  # a wrong path fails here and not at the first line
    return _lines(Path(path), FORMATS[format])


_Reader = Callable[[Mapping[str, Any]], tuple[Rollout, ...]]


def _lines(path: Path, read: _Reader) -> Iterator[Line]:
    with opened(path) as file:
        for place, raw in enumerate(file, 1):
            if raw.strip():
                yield _line(path, place, raw, read)


def _line(path: Path, place: int, raw: bytes, read: _Reader) -> Line:
    dropped: tuple[str, ...] = ()
    try:
        row = row_of(parsed_line(raw))
        dropped = tuple(key for key in row if is_label(key))
        kept = {key: value for key, value in row.items() if key not in dropped}
        return Line(path, place, rollouts=read(kept), dropped=dropped)
    except (BadLineError, InvalidInputError) as error:
        return Line(path, place, error=f"{path}, line {place}: {error}", dropped=dropped)


def _read_rollout(row: Mapping[str, Any]) -> tuple[Rollout, ...]:
    identity = {} if row.get("problem_id") is None else {"id": identifier(row["problem_id"])}
    problem = Problem(text=text(row, "problem"), family=optional_text(row, "family"), **identity)
    rollout = Rollout(
        problem=problem,
        completion=text(row, "completion"),
        reward=number(row, "reward"),
        correct=truth(row, "correct"),
        step=step(row),
        policy=optional_text(row, "policy") or "",
    )
    return (rollout,)


FORMATS: Mapping[str, _Reader] = {"gsm8k-rollouts": read_gsm8k, "rollouts": _read_rollout}
"""How to read one line of rollouts, by the name of the format."""
