"""The columns of every file, and how a record becomes a row and back.

Texts, numbers and lists are columns of their own. What may hold anything is JSON text: metadata,
and the conversation of a failed answer, whose id depends on the order of its keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import MissingExtraError
from lanpo_memory.types import Attempt, Experience, Exposure, FailedAnswer, Problem

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "fields_of", "file_of", "loaded", "row_of", "schema_of"]

_OF_PROBLEM = {
    "problem_id": "text",
    "problem": "text",
    "family": "text",
    "problem_metadata": "text",
}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "experience": {
        "id": "text",
        **_OF_PROBLEM,
        "thoughts": "text",
        "principles": "texts",
        "pitfalls": "texts",
        "reward": "number",
        "correct": "truth",
        "source": "text",
        "step": "integer",
        "policy": "text",
        "created_at": "number",
        "parents": "texts",
        "extra": "text",
        "lesson_id": "text",
        "schema_version": "integer",
    },
    "attempt": {
        "id": "text",
        **_OF_PROBLEM,
        "text": "text",
        "step": "integer",
        "policy": "text",
    },
    "exposure": {
        "id": "text",
        "problem_id": "text",
        "lesson_ids": "texts",
        "experience_ids": "texts",
        "step": "integer",
        "group": "text",
        "guided": "numbers",
        "scratch": "numbers",
        "group_size": "integer",
        "randomised": "truth",
    },
    "failure": {
        "id": "text",
        "role": "text",
        "problem_id": "text",
        "text": "text",
        "reason": "text",
        "step": "integer",
        "problem": "text",
        "metadata": "text",
        "conversation": "text",
        "max_tokens": "integer",
    },
    "problem": {"id": "text", "text": "text", "family": "text", "metadata": "text"},
}
"""By kind of record: the name of each column and what it holds."""

_METADATA = ("reward", "correct", "source", "step", "policy", "created_at", "parents")
_JSON_OF_FAILURE = ("problem", "metadata", "conversation")


def loaded() -> Any:
    """Return the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pa


def file_of(kind: str) -> str:
    """The name of the file that holds a kind of record."""
    return f"{kind}s.parquet"


def schema_of(kind: str) -> pa.Schema:
    """The types of a file, which a column keeps even if it holds nothing but nulls."""
    pa = loaded()
    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "integer": pa.int64(),
        "truth": pa.bool_(),
    }
    return pa.schema([(name, types[holds]) for name, holds in COLUMNS[kind].items()])


def row_of(record: Experience | Attempt | Exposure | FailedAnswer | Problem) -> dict[str, Any]:
    """The row of a record."""
    data: dict[str, Any] = record.model_dump(mode="json")
    if isinstance(record, Problem):
        return {**data, "metadata": _json(data["metadata"])}
    row = {**data, "id": record.id}
    if isinstance(record, Experience):
        metadata = row.pop("metadata")
        row |= {name: metadata[name] for name in _METADATA}
        row |= {"extra": _json(metadata["extra"]), "lesson_id": record.lesson_id}
    if isinstance(record, Experience | Attempt):
        row |= _columns_of(row["problem"])
    if isinstance(record, FailedAnswer):
        row |= {name: _json(row[name]) for name in _JSON_OF_FAILURE}
    return row


def _columns_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "problem_id": problem["id"],
        "problem": problem["text"],
        "family": problem["family"],
        "problem_metadata": _json(problem["metadata"]),
    }


def fields_of(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row's record, with its kind among them.

    Raises:
        ValueError: a JSON text is none.
        KeyError: a column is missing.
    """
    fields = {"kind": kind, **{k: v for k, v in row.items() if k != "id"}}
    if kind == "experience":
        del fields["lesson_id"]
        metadata = {name: fields.pop(name) for name in _METADATA}
        fields["metadata"] = {**metadata, "extra": json.loads(fields.pop("extra"))}
    if kind in ("experience", "attempt"):
        fields["problem"] = {
            "id": fields.pop("problem_id"),
            "text": fields["problem"],
            "family": fields.pop("family"),
            "metadata": json.loads(fields.pop("problem_metadata")),
        }
    if kind == "failure":
        fields |= {name: _value(fields[name]) for name in _JSON_OF_FAILURE}
    return fields


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
