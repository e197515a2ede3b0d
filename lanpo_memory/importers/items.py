"""An item of another memory, and the experience it becomes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers.fields import BadLineError, is_label, kind_of
from lanpo_memory.types import (
    MAX_NAME_CHARS,
    Experience,
    ExperienceMetadata,
    Problem,
    ReceiptStatus,
    Scalar,
)

__all__ = ["Entry", "Item", "entry_of", "merged", "says_pitfall"]

_VECTORS = frozenset({"vector", "embedding", "embeddings"})
_LARGEST = 2**53  # whole numbers above it are no scalars of a record
_PITFALL = re.compile(r"\b(mistakes?|pitfalls?|avoid|anti[ -]?patterns?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """What a format found: where it stands, what it says, and when that is of use.

    `key` is what its format calls the content. `fields` is everything else there is about it,
    `created` when it was made: seconds since the epoch, or a date in ISO 8601. A `fault` says why
    there is nothing.
    """

    line: int
    content: Any = None
    when: Any = None
    pitfall: bool = False
    created: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    key: str = "content"


@dataclass(frozen=True)
class Entry:
    """What one item of a file came to: an experience, or a status with its reason; never both.

    `status` is ``failed`` for what could not be read, ``rejected`` for what could be and was
    refused for what it says; `error` is a sentence with file, line and fault. `dropped` names the
    fields that look like reference answers: they were not read. `left_out` names those that are
    not kept: vectors, and what is longer than a name may be.
    """

    path: Path
    line: int
    experience: Experience | None = None
    status: ReceiptStatus | None = None
    error: str = ""
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def says_pitfall(*names: Any) -> bool:
    """Tell whether a heading or a category clearly speaks of what to avoid.

    >>> says_pitfall("COMMON MISTAKES TO AVOID"), says_pitfall("error handling", None)
    (True, False)
    """
    texts = (name.replace("_", " ") for name in names if isinstance(name, str))
    return any(_PITFALL.search(text) for text in texts)


def entry_of(path: Path, item: Item, source: str) -> Entry:
    """Make an experience of an item, or say why there is none; nothing is raised."""
    kept = _Fields()
    try:
        if item.fault:
            raise BadLineError(item.fault)
        kept.take(item.fields)
        experience = _experience(item, kept.extra, source)
    except BadLineError as error:
        return _refused(path, item, kept, "failed", error)
    except (InvalidInputError, RecursionError) as error:
        return _refused(path, item, kept, "rejected", error)
    dropped, left_out = tuple(kept.dropped), tuple(kept.left_out)
    return Entry(path, item.line, experience, dropped=dropped, left_out=left_out)


def _refused(
    path: Path, item: Item, kept: _Fields, status: ReceiptStatus, error: Exception
) -> Entry:
    reason = "nested too deeply" if isinstance(error, RecursionError) else _printable(str(error))
    return Entry(
        path,
        item.line,
        status=status,
        error=f"{path}, line {item.line}: {reason}",
        dropped=tuple(kept.dropped),
        left_out=tuple(kept.left_out),
    )


def _experience(item: Item, extra: Mapping[str, Scalar], source: str) -> Experience:
    if item.content is None:
        raise BadLineError(f"there is no {item.key!r} in it; is it of another format?")
    content = _string("the content", item.content)
    when = "" if item.when is None else _string("'when_to_use'", item.when)
    if not content.strip():
        raise InvalidInputError("the content is empty")
    lesson = {"pitfalls" if item.pitfall else "principles": (content,)}
    return Experience(
        problem=Problem(text=when if when.strip() else content),
        metadata=ExperienceMetadata(source=source, created_at=_seconds(item.created), extra=extra),
        **lesson,
    )


def _string(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadLineError(f"{what} is not a string but {kind_of(value)}")
    return value


def _seconds(created: Any) -> float | None:
    """A time as seconds since the epoch; dates without a zone are UTC, so that all agree."""
    if isinstance(created, int | float) and not isinstance(created, bool):
        return float(created) if abs(created) <= _LARGEST else None
    if not isinstance(created, str):
        return None
    try:
        date = datetime.fromisoformat(created.strip())
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class _Fields:
    """Takes fields in: scalars as they are, nested ones as JSON text, labels not at all."""

    def __init__(self) -> None:
        self.extra: dict[str, Scalar] = {}
        self.dropped: list[str] = []
        self.left_out: list[str] = []

    def take(self, fields: Mapping[str, Any]) -> None:
        """Take all fields; those of `metadata` come under their own names, unless taken."""
        nested = fields.get("metadata")
        inner = nested if isinstance(nested, dict) else {}
        outer = {key: value for key, value in fields.items() if value is not inner}
        for key, value in outer.items():
            self._put(key, key, value)
        for key, value in inner.items():
            name = f"metadata.{key}"
            self._put(name if key in outer else key, name, value)

    def _put(self, name: str, path: str, value: Any) -> None:
        if is_label(path.rpartition(".")[2]):
            self.dropped.append(_printable(path))
        elif path.rpartition(".")[2] in _VECTORS:
            self.left_out.append(_printable(path))
        else:
            self._keep(name, path, value)

    def _keep(self, name: str, path: str, value: Any) -> None:
        kept = self._scalar(path, value)
        if isinstance(kept, str) and len(kept) > MAX_NAME_CHARS:
            self.left_out.append(_printable(path))
        else:
            self.extra[name] = kept

    def _scalar(self, path: str, value: Any) -> Scalar:
        if isinstance(value, dict | list):
            try:
                return json.dumps(self._without(path, value), ensure_ascii=False, allow_nan=False)
            except ValueError:
                raise InvalidInputError(f"{path!r} holds a number that is not finite") from None
        if isinstance(value, int) and abs(value) > _LARGEST:
            return _digits(path, value)
        if isinstance(value, float) and value - value != 0:
            raise InvalidInputError(f"{path!r} is not a finite number")
        scalar: Scalar = value
        return scalar

    def _without(self, path: str, value: Any) -> Any:
        """A nested value without its label-like keys, at any depth."""
        if isinstance(value, list):
            return [self._without(path, each) for each in value]
        if not isinstance(value, dict):
            return value
        labels = [key for key in value if is_label(key)]
        self.dropped += [_printable(f"{path}.{key}") for key in labels]
        return {k: self._without(f"{path}.{k}", v) for k, v in value.items() if k not in labels}


def _digits(path: str, value: int) -> str:
    try:
        return str(value)
    except ValueError:  # beyond what Python turns into digits
        raise InvalidInputError(f"{path!r} is too large a number") from None


def _printable(text: str) -> str:
    """A text that any terminal and file takes: half a character is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def merged(*parts: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of several objects, the first to name one wins."""
    found: dict[str, Any] = {}
    for key, value in chain.from_iterable(part.items() for part in parts):
        if key not in without:
            found.setdefault(key, value)
    return found
