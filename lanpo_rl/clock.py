"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["STAGES", "StageClock"]

STAGES = (
    "retrieve",
    "judge",
    "generate",
    "reward",
    "summarise",
    "persist",
    "update",
    "other",
)
"""What a step is made of; `other` is what no stage claims. They add up to the step."""


class StageClock:
    """Adds up the seconds of each stage until the step is over.

    Args:
        now: seconds that only go forward.

    >>> ticks = iter(range(100))
    >>> clock = StageClock(now=lambda: float(next(ticks)))
    >>> clock.begin()
    >>> with clock("generate"):
    ...     pass
    >>> seconds = clock.end()
    >>> seconds["generate"], seconds["other"], seconds["step"]
    (1.0, 2.0, 3.0)
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._began: float | None = None

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what happens within; a stage inside another one counts for itself alone."""
        started, inside = self._now(), sum(self._seconds.values())
        try:
            yield
        finally:
            within = sum(self._seconds.values()) - inside
            self._seconds[stage] += self._now() - started - within

    def add(self, stage: str, seconds: float) -> None:
        """Book seconds that were measured elsewhere."""
        self._seconds[stage] += seconds

    def move(self, source: str, target: str, seconds: float) -> None:
        """Book seconds of one stage under another."""
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    def begin(self) -> None:
        """Start a step; what was booked since the last one is forgotten."""
        self._seconds.clear()
        self._began = self._now()

    def end(self) -> dict[str, float]:
        """Return the seconds of every stage of the step, and of the `step` itself."""
        began = self._now() if self._began is None else self._began
        step = self._now() - began
        seconds = {stage: self._seconds[stage] for stage in STAGES}
        seconds["other"] = step - sum(s for name, s in seconds.items() if name != "other")
        return {**seconds, "step": step}
