"""How figures are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lanpo_rl.study.statistics import Estimate, median_cost

__all__ = [
    "DASH",
    "cost_text",
    "count",
    "mean_of",
    "seeds_text",
    "share",
    "signed",
    "thousands",
    "with_interval",
]

DASH = "–"


def share(value: float | None) -> str:
    """Return a share with two digits, a dash without one.

    >>> share(0.125), share(None)
    ('0.12', '–')
    """
    return DASH if value is None else f"{value:.2f}"


def seeds_text(number: int, kind: str = "") -> str:
    """Return a number of seeds, perhaps of a kind.

    >>> seeds_text(1), seeds_text(3, "common")
    ('1 seed', '3 common seeds')
    """
    return f"{number} {kind}{' ' * bool(kind)}seed{'s' * (number != 1)}"


def signed(value: float) -> str:
    """Return a difference with its sign.

    >>> signed(0.5), signed(-0.001)
    ('+0.50', '0.00')
    """
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")


def count(value: float | None) -> str:
    """Return a whole number with separators."""
    return DASH if value is None else f"{value:,.0f}"


def thousands(value: float | None) -> str:
    """Return a number of tokens in thousands.

    >>> thousands(72_400), thousands(None)
    ('72k', '–')
    """
    return DASH if value is None else f"{value / 1000:,.0f}k"


def with_interval(found: Estimate | None, *, sign: bool = False) -> str:
    """Return mean and interval; the mean alone where a single seed has none.

    >>> from lanpo_rl.study.statistics import estimate
    >>> with_interval(estimate({0: 0.5, 1: 0.5})), with_interval(estimate({0: 0.5}))
    ('0.50 [0.50, 0.50]', '0.50')
    """
    if found is None:
        return DASH
    form = signed if sign else share
    low, high = found.interval
    if math.isnan(low):
        return form(found.mean)
    return f"{form(found.mean)} [{form(low)}, {form(high)}]"


def cost_text(costs: Sequence[float | None], *, unit: str = "tokens") -> str:
    """Return the median cost with how many runs got there.

    >>> cost_text([70_000.0, 74_000.0, None]), cost_text([None, None])
    ('74k (2/3)', '– (0/2)')
    """
    if not costs:
        return DASH
    found = median_cost(costs)
    form = thousands if unit == "tokens" else count
    return f"{form(found)} ({sum(cost is not None for cost in costs)}/{len(costs)})"


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of those that are there."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    return sum(there) / len(there) if there else None
