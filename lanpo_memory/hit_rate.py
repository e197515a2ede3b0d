"""Whether gamma does its work: a warning where it keeps everything out, or nothing."""

from __future__ import annotations

import warnings

from lanpo_memory.errors import HitRateWarning

__all__ = ["HitRate"]


class HitRate:
    """Watches how many searches find something, and says so, once, if that makes no sense.

    Of every `window` searches fewer than `low` or more than `high` should not find anything.

    Args:
        gamma: the least similarity in use; 0 filters nothing on purpose, and may find everything.

    >>> HitRate(0.5).note(searched=10, hits=5)
    """

    window = 200
    low, high = 0.02, 0.98

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma
        self._searched = self._hits = 0
        self._said: set[str] = set()

    def note(self, searched: int, hits: int) -> None:
        """Count searches, and those among them that found something."""
        self._searched += searched
        self._hits += hits
        if self._searched < self.window:
            return
        rate = self._hits / self._searched
        if rate < self.low:
            self._say("the memory is hardly ever used", rate)
        elif rate > self.high and self._gamma > 0:  # 0 filters nothing on purpose
            self._say("gamma keeps nothing out", rate)
        self._searched = self._hits = 0

    def _say(self, meaning: str, rate: float) -> None:
        if meaning in self._said:
            return
        self._said.add(meaning)
        warnings.warn(
            f"{rate:.1%} of the last {self._searched} problems found an experience with similarity "
            f"{self._gamma:.3f} (gamma) or more: {meaning}. Find a gamma with `lanpo pool "
            "calibrate` or lanpo_memory.calibration.calibrate_gamma",
            HitRateWarning,
            stacklevel=5,
        )
