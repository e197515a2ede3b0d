"""Gradients that grow, or that are no numbers any more."""

from __future__ import annotations

import math
from typing import ClassVar

from lanpo_rl.alarms.base import Figures, Watch, at_least
from lanpo_rl.alarms.series import median, number, push

__all__ = ["GradientGrowth"]


class GradientGrowth(Watch):
    """Rings when the gradient norm has grown for good, and at once when it is NaN or infinite.

    The norm before clipping, as the trainer logs it, in two windows: the first `reference` updates
    and the last `window`. It rings where the recent median is `factor` times the median of the
    reference *and* 1.5 times its largest norm but one: with whole groups under one guidance most
    groups may be all right, the norm jumps between two levels, and a median alone jumps with it.
    Below `floor` it never rings: where few groups have any gradient at first, the norm grows with
    the success of the policy. Steps without any gradient (0) are left out. It calms down below 0.7
    times what makes it ring.

    Args:
        factor: growth of the median that rings.
        floor: norm up to which growth is no matter; the trainer gives the one it clips at.
        window: recent updates looked at.
        reference: first updates, which are taken to be sound.

    Raises:
        ConfigError: a factor of 1 or less, or fewer than 5 updates.
    """

    name = "gradient_norm"
    kept: ClassVar[tuple[str, ...]] = ("reference", "recent", "broken")

    def __init__(
        self, *, factor: float = 4.0, floor: float = 1.0, window: int = 20, reference: int = 20
    ) -> None:
        at_least(1.01, factor=factor)
        at_least(0, floor=floor)
        at_least(5, window=window, reference=reference)
        self._floor = floor
        self._factor, self._window, self._first = factor, window, reference
        self.reference: list[float] = []
        self.recent: list[float] = []
        self.broken = False

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        norm = number(figures, "grad_norm")
        if norm is None or norm == 0:
            return None
        if not math.isfinite(norm):
            return self._not_a_number(step, norm)
        if len(self.reference) < self._first:
            self.reference.append(norm)
            return None
        push(self.recent, norm, self._window)
        if len(self.recent) < self._window:
            return None
        self.broken = False
        now, then = median(self.recent), median(self.reference)
        limit = max(self._floor, self._factor * then, 1.5 * sorted(self.reference)[-2])
        return self.episode(
            now >= limit,
            f"the gradient norm has grown {now / then:.1f} times: its median is {now:.3g} over the "
            f"last {self._window} updates and was {then:.3g} over the first {self._first}. Lower "
            "the learning rate, clip harder, or go back to a checkpoint",
            calm=now < 0.7 * limit,
        )

    def _not_a_number(self, step: int, norm: float) -> str | None:
        """An episode of its own: it rings also where growth has rung, and ends with a window."""
        self.recent.clear()
        began, self.broken, self.ringing = not self.broken, True, True
        if not began:
            return None
        return (
            f"the gradient norm is {norm} at step {step}: weights may be lost. Go back to a "
            "checkpoint; look for NaN rewards, empty completions and overflow in half precision"
        )
