"""Records as PostgreSQL keeps them, and back: JSONB, and the exact text where that says less."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pydantic_core import from_json, to_json

from lanpo_memory.errors import PoolDamagedError
from lanpo_memory.stores.kinds import TYPES
from lanpo_memory.types import (
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Problem,
)

__all__ = [
    "experience_payload",
    "exposure_payload",
    "failure_payload",
    "ids_listed",
    "key_of",
    "keys_listed",
    "problem_metadata",
    "revived",
    "revived_problem",
]

Payload = tuple[str, str | None]
"""What goes into the JSONB column, and into `exact` beside it."""


def key_of(text: str) -> str:
    """128 bits that stand for a text of any length in an index, as 32 hexadecimal digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def keys_listed(texts: Iterable[str]) -> str:
    """The keys of texts, as one argument for `string_to_array`."""
    return ",".join(map(key_of, dict.fromkeys(texts)))


def ids_listed(ids: Iterable[str]) -> str:
    """Ids of records, as one argument; what cannot be one is in no table and left out."""
    return ",".join(i for i in dict.fromkeys(ids) if i.isascii() and i.isalnum())


# ---------------------------------------------------------------------- to the database


def problem_metadata(problem: Problem) -> Payload:
    """The metadata of a problem."""
    metadata = dict(problem.metadata)
    return _payload(to_json(metadata).decode(), _survives(metadata))


def experience_payload(experience: Experience, now: float | None) -> Payload:
    """An experience without its problem; one that has no time of its own was made now."""
    metadata = experience.metadata
    if metadata.created_at is None and now is not None:
        metadata = metadata._with(created_at=now)
        experience = experience._with(metadata=metadata)
    return _payload(experience.model_dump_json(exclude={"problem"}), _metadata_survives(metadata))


def exposure_payload(exposure: Exposure) -> Payload:
    """An exposure whole."""
    rewards = (*exposure.guided, *exposure.scratch)
    return _payload(exposure.model_dump_json(), not any(map(_is_negative_zero, rewards)))


def failure_payload(failure: FailedAnswer) -> Payload:
    """A failed answer whole; its id depends on the order of keys in its conversation."""
    survives = (
        _survives(failure.conversation)
        and (failure.metadata is None or _metadata_survives(failure.metadata))
        and (failure.problem is None or _survives(failure.problem.metadata))
    )
    return _payload(failure.model_dump_json(), survives)


def _payload(text: str, survives: bool) -> Payload:
    if survives:
        return text, None
    # JSONB has no NUL; an escaped backslash before the same letters is something else.
    shown = re.sub(r"(\\\\)|\\u0000", lambda found: found[1] or r"\ufffd", text)
    return shown, text


def _metadata_survives(metadata: ExperienceMetadata) -> bool:
    return not (
        _is_negative_zero(metadata.reward)
        or _is_negative_zero(metadata.created_at)
        or (metadata.extra and not _survives(metadata.extra))
    )


def _survives(value: Any) -> bool:
    """Whether JSONB gives a free value back as it is: kinds of numbers, order of keys, NUL."""
    if isinstance(value, float):
        # Written with an exponent, a whole number comes back without its point: as an integer.
        return not _is_negative_zero(value) and "e" not in repr(value)
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, Mapping):
        keys = list(value)
        return keys == sorted(keys, key=_place) and _survives(keys) and _survives([*value.values()])
    if isinstance(value, list | tuple):
        return all(map(_survives, value))
    return value is None or isinstance(value, int)


def _place(key: Any) -> tuple[int, bytes]:
    """Where JSONB puts a key: shorter ones first."""
    text = str(key).encode()
    return len(text), text


def _is_negative_zero(value: float | None) -> bool:
    return value == 0 and math.copysign(1, value) < 0


# ---------------------------------------------------------------------- and back


def revived(kind: str, rows: Sequence[Any], address: str) -> list[Any]:
    """Records from rows (seq, payload) or (seq, payload, lesson, rid, pid, text, family, metadata).

    Raises:
        PoolDamagedError: a row is not a record.
    """
    model, records = TYPES[kind], []
    known: dict[int, Problem] = {}
    for seq, payload, *of_problem in rows:
        lesson = None
        try:
            data = from_json(payload)
            if of_problem:
                lesson, rid, *fields = of_problem
                if rid not in known:
                    known[rid] = revived_problem(fields, address)
                data["problem"] = known[rid]
            records.append(model.__pydantic_validator__.validate_python(data))
        except (ValueError, TypeError) as error:
            raise PoolDamagedError(f"{address}: {kind} {seq} cannot be read: {error}") from error
        if lesson is not None:
            records[-1].__dict__["lesson_id"] = lesson  # spares hashing all it says
    return records


def revived_problem(row: Sequence[Any], address: str) -> Problem:
    """A problem from a row (pid, text, family, metadata).

    Raises:
        PoolDamagedError: the row is not a problem.
    """
    pid, text, family, metadata = row
    try:
        fields = {"id": pid, "text": text, "family": family, "metadata": from_json(metadata)}
        return Problem.__pydantic_validator__.validate_python(fields)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:
        raise PoolDamagedError(f"{address}: problem {pid!r} cannot be read: {error}") from error
