"""What several seeds say about an arm, and about two arms on the same seeds. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.evaluation.estimates import DRAWS, Interval, bootstrap_interval
from lanpo_rl.study.results import Point

__all__ = [
    "FEWEST_SEEDS",
    "Estimate",
    "Verdict",
    "estimate",
    "median_cost",
    "paired",
    "paired_difference",
    "saving",
    "seconds_to",
    "tokens_to",
    "verdict",
]

Verdict = Literal["yes", "no", "not decided"]

FEWEST_SEEDS = 3
"""With fewer common seeds nothing is decided."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and where it lies.

    Attributes:
        mean: over the seeds.
        interval: 95 % percentile bootstrap interval; NaN at both ends for a single seed.
        by_seed: what was averaged.
    """

    mean: float
    interval: Interval
    by_seed: Mapping[int, float]

    @property
    def seeds(self) -> int:
        """How many were averaged."""
        return len(self.by_seed)

    @property
    def above(self) -> int:
        """How many seeds are above 0: of a difference, those on which the first did better."""
        return sum(value > 0 for value in self.by_seed.values())

    def moved(self, by: float) -> Estimate:
        """Return the same with `by` added to everything."""
        low, high = self.interval
        values = {seed: value + by for seed, value in self.by_seed.items()}
        return Estimate(self.mean + by, Interval(low + by, high + by), values)


def estimate(by_seed: Mapping[int, float], *, draws: int = DRAWS) -> Estimate | None:
    """Return mean and interval over seeds; `None` without any.

    Raises:
        InvalidInputError: a value is not a number.

    >>> estimate({0: 0.5, 1: 1.0}).mean
    0.75
    """
    if not by_seed:
        return None
    if not all(math.isfinite(value) for value in by_seed.values()):
        raise InvalidInputError(f"a mean over seeds needs finite numbers: {dict(by_seed)}")
    values = [by_seed[seed] for seed in sorted(by_seed)]
    interval = bootstrap_interval(values, draws=draws)
    return Estimate(statistics.fmean(values), interval, dict(by_seed))


def paired(
    a_by_seed: Mapping[int, float],
    b_by_seed: Mapping[int, float],
    compare: Callable[[float, float], float] = lambda a, b: a - b,
) -> dict[int, float]:
    """Return `compare(a, b)` by seed, for the seeds that both have.

    >>> paired({0: 3.0, 1: 5.0}, {1: 2.0, 2: 9.0})
    {1: 3.0}
    """
    common = sorted(a_by_seed.keys() & b_by_seed.keys())
    return {seed: compare(a_by_seed[seed], b_by_seed[seed]) for seed in common}


def paired_difference(
    a_by_seed: Mapping[int, float], b_by_seed: Mapping[int, float], *, draws: int = DRAWS
) -> Estimate | None:
    """Return a − b over the seeds that both have, with the interval of their mean.

    A seed makes the task and the run: comparing seed by seed takes out what is due to the task.

    >>> paired_difference({0: 0.75, 1: 0.5}, {0: 0.25, 1: 0.25, 2: 1.0}).mean
    0.375
    """
    return estimate(paired(a_by_seed, b_by_seed), draws=draws)


def verdict(interval: Interval, margin: float, seeds: int) -> Verdict:
    """Answer whether a difference is there.

    - "not decided" with fewer than `FEWEST_SEEDS` seeds;
    - "no" where the whole interval is below 0, or within `margin` of 0 on either side;
    - "yes" where the whole interval is above 0, and reaches beyond the margin;
    - "not decided" otherwise.

    Args:
        interval: of the difference.
        margin: the largest difference that makes none, 0 or more.
        seeds: how many the difference was taken over.

    Raises:
        InvalidInputError: a negative margin.

    >>> verdict(Interval(0.1, 0.3), 0.02, seeds=5), verdict(Interval(-0.1, 0.3), 0.02, seeds=5)
    ('yes', 'not decided')
    >>> verdict(Interval(-0.01, 0.02), 0.02, seeds=5), verdict(Interval(0.1, 0.3), 0.02, seeds=2)
    ('no', 'not decided')
    """
    if not margin >= 0:
        raise InvalidInputError(f"a margin is 0 or more, not {margin}")
    low, high = interval
    if seeds < FEWEST_SEEDS or math.isnan(low) or math.isnan(high):
        return "not decided"
    if high < 0 or (low >= -margin and high <= margin):
        return "no"
    return "yes" if low > 0 else "not decided"


# ---------------------------------------------------------------------- what it cost to get there

Read = Callable[[Point], float | None]


def tokens_to(
    curve: Sequence[Point], threshold: float, read: Read = lambda point: point.zero_shot
) -> float | None:
    """Return the generated tokens after which `threshold` was reached; `None` if it never was.

    The curve is followed on a straight line between the last evaluation below the threshold and
    the first one at or above it: evaluations are some 20,000 tokens apart, and rounding up would
    hide differences of that size. What comes later does not matter.

    Args:
        curve: evaluations, in the order of training.
        threshold: a share, 0 to 1.
        read: the figure to look at; evaluations without it are passed over.

    >>> a = Point(0, 0, 0.0, zero_shot=0.0, with_memory=0, guided=0, right_family=None)
    >>> b = Point(25, 20_000, 5.0, zero_shot=1.0, with_memory=1, guided=1, right_family=1)
    >>> tokens_to([a, b], 0.75)
    15000.0
    """
    return _cost_to(curve, threshold, read, lambda point: point.tokens)


def seconds_to(
    curve: Sequence[Point], threshold: float, read: Read = lambda point: point.zero_shot
) -> float | None:
    """Return the seconds of training after which `threshold` was reached, as `tokens_to` does."""
    return _cost_to(curve, threshold, read, lambda point: point.seconds)


def _cost_to(
    curve: Sequence[Point], threshold: float, read: Read, cost: Callable[[Point], float]
) -> float | None:
    before: tuple[float, float] | None = None
    for point in curve:
        value = read(point)
        if value is None:
            continue
        if value >= threshold:
            if before is None:
                return float(cost(point))
            spent, below = before
            return spent + (threshold - below) / (value - below) * (cost(point) - spent)
        before = (cost(point), value)
    return None


def median_cost(costs: Sequence[float | None]) -> float | None:
    """Return the median over runs, `None` standing for one that never got there.

    Those count as more expensive than any other; `None` where the median is one of them.

    >>> median_cost([10.0, None, 30.0]), median_cost([10.0, None, None])
    (30.0, None)
    """
    if not costs:
        return None
    found = statistics.median(math.inf if cost is None else cost for cost in costs)
    return found if math.isfinite(found) else None


def saving(a: float | None, b: float | None, *, a_spent: float, b_spent: float) -> float | None:
    """Return the share of b's cost that a saved on the way to the same threshold; below 0, lost.

    A run that never got there would have needed more than it spent. That bound stands in for its
    cost, and so the answer is the least that is known to be saved or lost: 0 where the bound does
    not tell which of them came first. Where neither got there, nothing is known.

    Args:
        a: cost of the one, `None` if it never got there.
        b: cost of the other.
        a_spent: what the one spent in all.
        b_spent: what the other spent in all.

    Returns:
        A share of at most 1; `None` where neither got there, or the other one's cost is 0.

    >>> saving(60.0, 80.0, a_spent=100.0, b_spent=100.0)
    0.25
    >>> saving(75.0, None, a_spent=100.0, b_spent=100.0)
    0.25
    """
    if a is None and b is None:
        return None
    ours, theirs = a_spent if a is None else a, b_spent if b is None else b
    if theirs <= 0:
        return 0.0 if ours <= 0 else None
    saved = 1.0 - ours / theirs
    if b is None:
        return max(0.0, saved)
    return min(0.0, saved) if a is None else saved
