"""How often guidance is drawn, as a function of the training step."""

from __future__ import annotations

from collections.abc import Callable

from lanpo_memory.errors import ConfigError

__all__ = ["Schedule", "as_schedule", "constant", "linear"]

Schedule = Callable[[int], float]


def _check_ratio(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
    return float(value)


def constant(ratio: float) -> Schedule:
    """The same ratio at every step.

    >>> constant(0.75)(10)
    0.75
    """
    value = _check_ratio("feedback_ratio", ratio)
    return lambda step: value


def linear(start: float, end: float, *, steps: int) -> Schedule:
    """From `start` to `end` over `steps` steps, constant afterwards.

    >>> linear(1.0, 0.5, steps=10)(5)
    0.75
    """
    first, last = _check_ratio("start", start), _check_ratio("end", end)
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps}")
    return lambda step: first + (last - first) * min(1.0, max(0, step) / steps)


def as_schedule(ratio: float | Schedule) -> Schedule:
    """Return a schedule; a number becomes a constant one."""
    return ratio if callable(ratio) else constant(ratio)
