"""The kinds of records that a store keeps."""

from __future__ import annotations

from pydantic import BaseModel

from lanpo_memory.types import Attempt, Experience, Exposure, FailedAnswer

__all__ = ["OF_PROBLEM", "PLAIN", "TYPES"]

TYPES: dict[str, type[BaseModel]] = {
    "experience": Experience,
    "attempt": Attempt,
    "exposure": Exposure,
    "failure": FailedAnswer,
}
"""What a record of each kind is, in the order of a batch's fields."""

OF_PROBLEM = ("experience", "attempt")
"""Kinds whose records hold a problem, which is stored apart."""
PLAIN = ("exposure", "failure")
"""Kinds whose records hold a problem's id only."""
