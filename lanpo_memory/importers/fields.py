"""What a line of a file holds, and the fault in words where it is not what is needed.

A fault never quotes a value: it could be a reference answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import LABEL_KEYS

__all__ = [
    "BadLineError",
    "column",
    "identifier",
    "is_label",
    "kind_of",
    "number",
    "optional_text",
    "parsed_line",
    "row_of",
    "step",
    "text",
    "truth",
]


class BadLineError(Exception):
    """Carries the fault of a line out of the reading functions."""


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


def row_of(value: Any) -> Mapping[str, Any]:
    """Return a JSON object as it is; everything else is a fault."""
    if not isinstance(value, dict):
        raise BadLineError(f"not a JSON object but {kind_of(value)}")
    return value


def is_label(key: str) -> bool:
    """Tell whether a key looks like a reference answer's, in any spelling and as part of a name.

    >>> is_label("Gold Answers"), is_label("groundTruth"), is_label("question")
    (True, True, False)
    """
    parts = {part.removesuffix("s") for part in re.split(r"[\W_]+", key.lower())}
    return bool(parts & LABEL_KEYS) or "groundtruth" in re.sub(r"[\W_]+", "", key.lower())


def column(row: Mapping[str, Any], name: str) -> Any:
    """Return a value that has to be there."""
    if row.get(name) is None:
        raise BadLineError(f"missing column {name!r}")
    return row[name]


def text(row: Mapping[str, Any], name: str) -> str:
    """Return a string that has to be there."""
    value = column(row, name)
    if not isinstance(value, str):
        raise BadLineError(f"column {name!r} is not a string but {kind_of(value)}")
    return value


def optional_text(row: Mapping[str, Any], name: str) -> str | None:
    """Return a string, `None` where there is none."""
    return None if row.get(name) is None else text(row, name)


def identifier(value: Any) -> str:
    """Return a problem's id, which may be a whole number."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadLineError(
            f"column 'problem_id' is not a string or a whole number but {kind_of(value)}"
        )
    return str(value)


def number(row: Mapping[str, Any], name: str) -> float | None:
    """Return a number, `None` where there is none."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadLineError(f"column {name!r} is not a number but {kind_of(value)}")
    try:
        return float(value)
    except OverflowError:
        raise BadLineError(f"column {name!r} is too large a number") from None


def truth(row: Mapping[str, Any], name: str) -> bool | None:
    """Return true or false, `None` where there is neither."""
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadLineError(f"column {name!r} is not true or false but {kind_of(value)}")
    return value


def step(row: Mapping[str, Any]) -> int:
    """Return the training step, 0 where there is none."""
    value = row.get("step")
    if value is None:
        return 0
    # A store keeps steps as 64-bit integers.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise BadLineError("column 'step' is not a whole number from 0 on")
    return value


def kind_of(value: Any) -> str:
    """Name a JSON value's type as JSON does, without quoting the value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
