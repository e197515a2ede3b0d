"""Reading files of rollouts, one line at a time.

A line that cannot be used is data, not an exception: a `Line` whose `error` names file, line and
fault, so that one bad line never costs the rest of the file. Reference answers are never read
into anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import LABEL_KEYS, Problem, Rollout

__all__ = ["FORMATS", "GSM8K_POLICIES", "Line", "parsed_line", "read_rollouts"]

GSM8K_POLICIES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
"""The four models whose solutions the GSM8K authors published."""


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
    _open(Path(path)).close()  # a wrong path fails here and not at the first line
    return _lines(Path(path), FORMATS[format])


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from error


class _BadLineError(Exception):
    """Carries the fault of a line out of the reading functions."""


_Reader = Callable[[Mapping[str, Any]], tuple[Rollout, ...]]


def _lines(path: Path, read: _Reader) -> Iterator[Line]:
    with _open(path) as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                yield _line(path, number, raw, read)


def _line(path: Path, number: int, raw: bytes, read: _Reader) -> Line:
    dropped: tuple[str, ...] = ()
    try:
        row = _row(raw)
        dropped = tuple(key for key in row if _is_label(key))
        kept = {key: value for key, value in row.items() if key not in dropped}
        return Line(path, number, rollouts=read(kept), dropped=dropped)
    except (_BadLineError, InvalidInputError) as error:
        return Line(path, number, error=f"{path}, line {number}: {error}", dropped=dropped)


def parsed_line(raw: bytes) -> Any:
    """Return what a line of JSON Lines holds.

    Raises:
        InvalidInputError: it is not UTF-8, or no JSON that can be read; the place is named.
    """
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"not UTF-8: byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError):
        raise InvalidInputError(
            "not JSON that can be read: a number too long, or nested too deeply"
        ) from None


def _row(raw: bytes) -> Mapping[str, Any]:
    row = parsed_line(raw)
    if not isinstance(row, dict):
        raise _BadLineError(f"not a JSON object but {_kind(row)}")
    return row


def _is_label(key: str) -> bool:
    parts = {part.removesuffix("s") for part in re.split(r"[\W_]+", key.lower())}
    return bool(parts & LABEL_KEYS) or "groundtruth" in re.sub(r"[\W_]+", "", key.lower())


def _read_rollout(row: Mapping[str, Any]) -> tuple[Rollout, ...]:
    identity = {} if row.get("problem_id") is None else {"id": _identifier(row["problem_id"])}
    problem = Problem(text=_text(row, "problem"), family=_optional_text(row, "family"), **identity)
    rollout = Rollout(
        problem=problem,
        completion=_text(row, "completion"),
        reward=_number(row, "reward"),
        correct=_truth(row, "correct"),
        step=_step(row),
        policy=_optional_text(row, "policy") or "",
    )
    return (rollout,)


def _read_gsm8k(row: Mapping[str, Any]) -> tuple[Rollout, ...]:
    problem = Problem(text=_text(row, "question"))
    return tuple(_gsm8k_rollout(problem, row, policy) for policy in GSM8K_POLICIES)


def _gsm8k_rollout(problem: Problem, row: Mapping[str, Any], policy: str) -> Rollout:
    cell = _column(row, policy)
    if not isinstance(cell, dict):
        raise _BadLineError(f"column {policy!r} is not an object but {_kind(cell)}")
    try:
        correct = _truth(cell, "is_correct")
        if correct is None:
            raise _BadLineError("missing column 'is_correct'")
        completion = _text(cell, "solution")
    except _BadLineError as error:
        raise _BadLineError(f"in {policy!r}: {error}") from None
    return Rollout(
        problem=problem,
        completion=completion,
        reward=float(correct),
        correct=correct,
        policy=policy,
        group=problem.id,
    )


FORMATS: Mapping[str, _Reader] = {"gsm8k-rollouts": _read_gsm8k, "rollouts": _read_rollout}
"""How to read one line, by the name of the format."""


def _column(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise _BadLineError(f"missing column {name!r}")
    return row[name]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _column(row, name)
    if not isinstance(value, str):
        raise _BadLineError(f"column {name!r} is not a string but {_kind(value)}")
    return value


def _optional_text(row: Mapping[str, Any], name: str) -> str | None:
    return None if row.get(name) is None else _text(row, name)


def _identifier(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _BadLineError(
            f"column 'problem_id' is not a string or a whole number but {_kind(value)}"
        )
    return str(value)


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _BadLineError(f"column {name!r} is not a number but {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        raise _BadLineError(f"column {name!r} is too large a number") from None


def _truth(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise _BadLineError(f"column {name!r} is not true or false but {_kind(value)}")
    return value


def _step(row: Mapping[str, Any]) -> int:
    value = row.get("step")
    if value is None:
        return 0
    # A store keeps steps as 64-bit integers.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _BadLineError("column 'step' is not a whole number from 0 on")
    return value


def _kind(value: Any) -> str:
    """Name a JSON value's type as JSON does, without quoting the value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
