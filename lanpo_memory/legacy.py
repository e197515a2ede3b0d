"""What earlier versions wrote otherwise, so that their files can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lanpo_memory.types import Experience, fingerprint

__all__ = ["id_1", "renamed"]


def id_1(experience: Experience) -> str:
    """An experience's id up to schema version 1: it did not begin with the problem."""
    return fingerprint(experience.problem.id, experience.lesson_id)


def renamed(ids: Iterable[str], new: Mapping[str, str]) -> list[str]:
    """Ids under their new names; those of experiences that are gone stay as they are."""
    return [new.get(each, each) for each in ids]
