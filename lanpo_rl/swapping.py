"""Attributes that are other ones for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["swapped"]


@contextlib.contextmanager
def swapped(place: object, values: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of an object, and set them back afterwards, whatever happens.

    >>> from types import SimpleNamespace
    >>> place = SimpleNamespace(beta=0.1)
    >>> with swapped(place, {"beta": 0.0}):
    ...     print(place.beta)
    0.0
    >>> place.beta
    0.1
    """
    before = {name: getattr(place, name) for name in values}
    for name, value in values.items():
        setattr(place, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(place, name, value)
