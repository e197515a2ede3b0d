"""A pool that rots: the summariser drifts while nothing trains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lanpo_rl.alarms.base import Figures, Watch, at_least, share
from lanpo_rl.alarms.series import bound_of_mean, finite, mean, push

__all__ = ["NewEntries", "SummaryDrift", "by_age"]

_CANARY = ("canary_readable", "canary_own", "canary_agreement")


class SummaryDrift(Watch):
    """Rings when the policy no longer summarises the canary's rollouts as it did in the beginning.

    Looks at the figures of a `Canary`, which come every so often; the mean of the last two readings
    decides, so that one odd reading does not. It rings where

    - `canary_readable` has fallen by `readable` from its first two readings; or
    - `canary_own` is below `own`: so few summaries are closest to the first summary of the same
      rollout. It needs no reference: near 1 for a sound summariser however its style changes, 1/8
      by chance for 8 rollouts; or
    - `canary_agreement` is below `agreement` times its first two readings.

    It calms down when none of this holds any more.

    Args:
        readable: fall of the readable share.
        own: least share of summaries that say something about their own rollout.
        agreement: part of the first agreement that must be left.

    Raises:
        ConfigError: a share outside 0 to 1.
    """

    name = "pool_rot_canary"
    kept: ClassVar[tuple[str, ...]] = ("first", "last")

    def __init__(self, *, readable: float = 0.3, own: float = 0.5, agreement: float = 0.5) -> None:
        share(readable=readable, own=own, agreement=agreement)
        self._readable, self._own, self._agreement = readable, own, agreement
        self.first: dict[str, list[float]] = {}
        self.last: dict[str, list[float]] = {}

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        found = {name: v for name in _CANARY if (v := finite(figures, name)) is not None}
        for name, value in found.items():
            first = self.first.setdefault(name, [])
            if len(first) < 2:
                first.append(value)
            push(self.last.setdefault(name, []), value, 2)
        if not found:
            return None
        signs = self._signs()
        return self.episode(
            bool(signs),
            f"the summariser drifts: {'; '.join(signs)}. New entries of the pool are made by it; "
            "let a frozen copy of the policy summarise, or sort guidance by utility",
        )

    def _signs(self) -> list[str]:
        now = {name: mean(last) for name, last in self.last.items() if len(last) == 2}
        then = {name: mean(first) for name, first in self.first.items()}
        signs = []
        readable, own, agreement = (now.get(name) for name in _CANARY)
        if readable is not None and then[_CANARY[0]] - readable >= self._readable:
            signs.append(f"{readable:.0%} of its summaries can be read, {then[_CANARY[0]]:.0%} did")
        if own is not None and own < self._own:
            signs.append(f"only {own:.0%} are closest to what it first said of the same rollout")
        if agreement is not None and agreement < self._agreement * then[_CANARY[2]]:
            signs.append(f"agreement with its first ones fell to {agreement:.2f}")
        return signs


class NewEntries(Watch):
    """Rings when guidance from new entries does clearly worse than guidance from old ones.

    `utility_new` and `utility_old` are mean task rewards of guided rollouts of the same step, by
    the age of the entry that guided them (see `by_age`): measured on one policy at one time, their
    difference does not drift as rewards do. It rings where old minus new is at least `part` of the
    reward with old ones, with 95 % confidence over the last `window` updates that have both, and
    calms down when the mean difference falls below that. Old entries that are still shown were
    chosen, by utility more than by relevance: some difference is natural.

    Args:
        part: of the reward with old entries.
        window: updates compared.
        least: smallest difference that counts, in units of the reward.

    Raises:
        ConfigError: fewer than 5 updates, or a share outside 0 to 1.
    """

    name = "pool_rot_utility"
    kept: ClassVar[tuple[str, ...]] = ("pairs",)

    def __init__(self, *, part: float = 0.2, window: int = 30, least: float = 0.02) -> None:
        share(part=part, least=least)
        at_least(5, window=window)
        self._part, self._window, self._least = part, window, least
        self.pairs: list[list[float]] = []

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        new, old = finite(figures, "utility_new"), finite(figures, "utility_old")
        if new is None or old is None:
            return None
        push(self.pairs, [new, old], self._window)
        if len(self.pairs) < self._window:
            return None
        gaps = [old - new for new, old in self.pairs]
        level = mean([old for _, old in self.pairs])
        limit = max(self._part * level, self._least)
        return self.episode(
            mean(gaps) - bound_of_mean(gaps) >= limit,
            f"new entries guide worse than old ones: a reward of {level - mean(gaps):.2f} against "
            f"{level:.2f} over {self._window} updates. The summaries get worse; let a frozen copy "
            "of the policy summarise, or sort guidance by utility",
            calm=mean(gaps) < limit,
        )


def by_age(uses: Sequence[tuple[int, float]], *, new: int = 25) -> dict[str, float]:
    """Return `utility_new` and `utility_old` of a step, each where there is one.

    Args:
        uses: for each guided rollout the age in steps of the youngest entry in its prompt, and its
            task reward. Rewards that are NaN are left out.
        new: entries younger than this are new.

    >>> by_age([(3, 0.0), (3, 1.0), (90, 1.0)])
    {'utility_new': 0.5, 'utility_old': 1.0}
    """
    scored = [(age, reward) for age, reward in uses if reward == reward]
    young = [reward for age, reward in scored if age < new]
    old = [reward for age, reward in scored if age >= new]
    groups = {"utility_new": young, "utility_old": old}
    return {name: mean(rewards) for name, rewards in groups.items() if rewards}
