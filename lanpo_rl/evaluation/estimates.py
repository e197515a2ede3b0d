"""Accuracy from several samples of each problem, and how sure it is. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lanpo_memory.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DRAWS",
    "Interval",
    "bootstrap_interval",
    "bootstrap_intervals",
    "mean_at_k",
    "pass_at_k",
    "steps_to",
]

DRAWS = 10_000
"""How often a bootstrap draws the problems anew, unless told otherwise."""

_AT_ONCE = 2_000_000  # random numbers held in memory together


class Interval(NamedTuple):
    """Where a figure lies; NaN at both ends where nothing can be said."""

    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that at least one of `k` samples is right, estimated without bias.

    Of `n` samples of one problem `c` are right: 1 - C(n-c, k) / C(n, k), as a product that neither
    overflows nor loses digits.

    Raises:
        InvalidInputError: not 0 <= c <= n, or not 1 <= k <= n.

    Source: Chen et al. 2021, arXiv 2107.03374 §2.1.

    >>> pass_at_k(4, 1, 2), pass_at_k(4, 0, 4), pass_at_k(4, 3, 2)
    (0.5, 0.0, 1.0)
    """
    if not 0 <= c <= n:
        raise InvalidInputError(f"of {n} samples {c} cannot be right")
    if not 1 <= k <= n:
        raise InvalidInputError(f"pass@{k} needs at least {max(k, 1)} samples a problem and k >= 1")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def mean_at_k(right_PK: Sequence[Sequence[float]]) -> float:
    """Return the share of right samples: first for each problem, then over the problems.

    Args:
        right_PK: for each problem its samples, 1 for right and 0 for wrong.

    Raises:
        InvalidInputError: no problems, or one without samples.

    >>> mean_at_k([[1, 0], [1, 1]])
    0.75
    """
    if not len(right_PK) or not all(len(right) for right in right_PK):
        raise InvalidInputError("mean@k needs problems, and at least one sample of each")
    return sum(sum(right) / len(right) for right in right_PK) / len(right_PK)


def steps_to(k: int) -> tuple[int, ...]:
    """Return the j of pass@j for `k` samples: 1, 2, 4, ..., and k itself.

    >>> steps_to(6)
    (1, 2, 4, 6)
    """
    return (*(2**i for i in range((k - 1).bit_length())), k)


def bootstrap_interval(
    values: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of the mean of `values`, one for each problem.

    The problems are drawn anew, with replacement, `draws` times; the middle `level` of the means is
    the interval. For the difference of two ways to solve the same problems give the differences,
    problem by problem. With a single problem, nothing can be said; where all values are equal, the
    interval has no width, and says nothing about what was not seen.

    Args:
        values: shape (n,); NaN is a problem without a value.
        draws: how often the problems are drawn.
        level: share of the means inside, between 0 and 1.
        seed: of the draws.

    Raises:
        InvalidInputError: no values, or a setting out of range.

    >>> low, high = bootstrap_interval([0, 1] * 50)
    >>> bool(0.39 <= low <= 0.42 and 0.58 <= high <= 0.61)
    True
    """
    import numpy as np

    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return bootstrap_intervals(column, draws=draws, level=level, seed=seed)[0]


def bootstrap_intervals(
    values: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Return `bootstrap_interval` for each column of `values`, from the same draws of problems.

    Args:
        values: shape (n, m): n problems, m figures.
        draws: see `bootstrap_interval`.
        level: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Raises:
        InvalidInputError: no problems, or a setting out of range.
    """
    import numpy as np

    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not len(table):
        raise InvalidInputError("an interval needs one value for each problem, at least one")
    if draws < 1 or not 0.0 < level < 1.0:
        raise InvalidInputError(f"draws has to be at least 1 and level in 0..1: {draws}, {level}")
    means = _drawn_means(table, draws, np.random.default_rng(seed))
    tail = 100 * (1 - level) / 2
    return [_interval(table[:, i], means[:, i], tail) for i in range(table.shape[1])]


def _drawn_means(
    table: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of each column over problems drawn with replacement, shape (draws, m)."""
    import numpy as np

    n = len(table)
    there = ~np.isnan(table)
    filled = np.where(there, table, 0.0)
    means = np.empty((draws, table.shape[1]))
    size = max(1, _AT_ONCE // n)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a draw may hit no problem that has a value
            means[start : start + rows] = (counts @ filled) / (counts @ there)
    return means


def _interval(values: NDArray[np.float64], means: NDArray[np.float64], tail: float) -> Interval:
    import numpy as np

    known = means[~np.isnan(means)]
    if np.count_nonzero(~np.isnan(values)) < 2 or not len(known):
        return Interval(math.nan, math.nan)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(low), float(high))
