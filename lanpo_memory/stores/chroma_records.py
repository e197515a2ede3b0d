"""What a pool looks like in Chroma: payloads, and the commits that make them visible."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from lanpo_memory.errors import PoolDamagedError
from lanpo_memory.stores.kinds import OF_PROBLEM, TYPES
from lanpo_memory.stores.replica import Line
from lanpo_memory.types import (
    Problem,
    fingerprint,
)

__all__ = [
    "Commit",
    "Stored",
    "commit_id",
    "key_of",
    "payload",
    "portions",
    "read_commit",
    "revived",
]


@dataclass(frozen=True)
class Stored:
    """One record of Chroma's: what is put there, before it gets its vector."""

    key: str
    metadata: Mapping[str, Any]
    document: str | None = None


@dataclass(frozen=True)
class Commit:
    """One entry of the log: everything that one batch changed, in order.

    `token` names the try to write it, and is part of the keys of its payloads: what another
    writer put there for the same number is never taken for its own. `problems` are those first
    told in this batch; with `replace` all earlier ones are forgotten.
    """

    number: int
    token: str
    epoch: int
    first: int
    """Number of its first change, from 1 on."""
    by: str = ""
    lines: tuple[Line, ...] = ()
    problems: tuple[str, ...] = ()
    replace: bool = False
    parts: int = 0
    """How many records hold its content, 0 where it holds it itself."""

    def content(self) -> str:
        """What takes room: changes and problems, as JSON."""
        return json.dumps({"problems": self.problems, "changes": self.lines})

    def metadata(self) -> dict[str, Any]:
        """The rest of it, flat."""
        return {
            "kind": "commit",
            "number": self.number,
            "token": self.token,
            "epoch": self.epoch,
            "by": self.by,
            "first": self.first,
            "changes": len(self.lines),
            "replace": self.replace,
            "parts": self.parts,
        }


def commit_id(number: int) -> str:
    """The id that only one writer can have: Chroma's `add` keeps the first of equal ids."""
    return f"commit-{number:012d}"


def read_commit(metadata: Mapping[str, Any], content: str) -> Commit:
    """The commit that a record holds.

    Raises:
        PoolDamagedError: it cannot be read.
    """
    try:
        data = from_json(content)
        return Commit(
            number=metadata["number"],
            token=metadata["token"],
            epoch=metadata["epoch"],
            first=metadata["first"],
            by=metadata["by"],
            lines=tuple((op, kind, i, problem) for op, kind, i, problem in data["changes"]),
            problems=tuple(data["problems"]),
            replace=metadata["replace"],
            parts=metadata["parts"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PoolDamagedError(
            f"commit {metadata.get('number')} cannot be read: {error}"
        ) from error


def key_of(kind: str, record_id: str, token: str) -> str:
    """The id of a payload in Chroma. A problem's id may be anything, so it is hashed."""
    return f"{kind}:{fingerprint(record_id) if kind == 'problem' else record_id}:{token}"


def payload(kind: str, record: Any, token: str, seq: int) -> Stored:
    """A record as Chroma holds it: its JSON as the document, what one filters by beside it."""
    of_problem = kind in OF_PROBLEM
    record_id = record.id
    problem_id = record.problem.id if of_problem else getattr(record, "problem_id", record_id)
    metadata: dict[str, Any] = {"kind": kind, "token": token, "seq": seq, "problem": problem_id}
    step = record.metadata.step if kind == "experience" else getattr(record, "step", None)
    if step is not None:  # None is not stored
        metadata["step"] = step
    document = record.model_dump_json(exclude={"problem"} if of_problem else None)
    return Stored(key_of(kind, record_id, token), metadata, document)


def revived(kind: str, document: str | None, problem: Problem | None = None) -> Any:
    """The record that a document holds.

    Raises:
        PoolDamagedError: it cannot be read.
    """
    try:
        data = from_json(document or "")
        if problem is not None:
            data["problem"] = problem
        model = Problem if kind == "problem" else TYPES[kind]
        return model.__pydantic_validator__.validate_python(data)
    except (ValueError, TypeError, ValidationError) as error:
        raise PoolDamagedError(f"a record of kind {kind} cannot be read: {error}") from error


def portions(
    records: Iterable[Stored], *, most: int, characters: int
) -> Iterable[Sequence[Stored]]:
    """The records in groups that one request may carry."""
    group: list[Stored] = []
    size = 0
    for record in records:
        length = len(record.document or "") + sum(
            len(v) for v in record.metadata.values() if isinstance(v, str)
        )
        if group and (len(group) >= most or size + length > characters):
            yield group
            group, size = [], 0
        group.append(record)
        size += length
    if group:
        yield group
