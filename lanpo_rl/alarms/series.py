"""Small statistics on series of plain numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TypeVar

__all__ = ["bound_of_mean", "finite", "mean", "median", "number", "push"]

Item = TypeVar("Item")

mean = statistics.fmean
median = statistics.median


def finite(figures: Mapping[str, float], name: str) -> float | None:
    """Return a figure, or `None` where it is missing or no finite number.

    >>> finite({"a": 1, "b": float("nan")}, "a"), finite({"b": float("nan")}, "b")
    (1.0, None)
    """
    value = number(figures, name)
    return value if value is not None and math.isfinite(value) else None


def number(figures: Mapping[str, float], name: str) -> float | None:
    """Return a figure, finite or not, or `None` where it is missing or no number.

    >>> number({"a": float("nan")}, "a")
    nan
    """
    value: object = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, Real):  # numpy's numbers are real, too
        return None
    return float(value)


def push(values: list[Item], value: Item, size: int) -> None:
    """Append to a window that keeps the last `size` values."""
    values.append(value)
    del values[:-size]


def bound_of_mean(values: Sequence[float], *, z: float = 1.645) -> float:
    """Half the width of the interval around a mean, for independent values (90 % with 1.645).

    The normal quantile is widened to Student's, to the first order.

    >>> bound_of_mean([1.0, 1.0, 1.0])
    0.0
    """
    centre, n = mean(values), len(values)
    variance = sum([(value - centre) ** 2 for value in values]) / (n - 1)
    return z * (1 + (z * z + 1) / (4 * (n - 1))) * math.sqrt(variance / n)
