"""Guidance that no longer makes a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from lanpo_rl.alarms.base import Figures, Watch, at_least, share
from lanpo_rl.alarms.series import bound_of_mean, finite, mean, push

__all__ = ["BehaviourCollapse", "HeadersVanish"]

Pair = list[float]  # guided, scratch: a list, for JSON knows no tuples

_KINDS = ("reward", "length", "entropy")


class _Difference(NamedTuple):
    """Guided minus scratch over a window, half of its interval, and the level of scratch."""

    mean: float
    half: float
    scratch: float


class BehaviourCollapse(Watch):
    """Rings when guidance makes no difference, or hardly any of the difference it once made.

    Compares guided and scratch rollouts over `window` updates: task reward, length (tokens) and
    entropy (nats). Two signs:

    - *Indistinguishable.* A difference is nothing if its whole 90 % interval lies within the
      tolerance (two one-sided tests at 5 %, an equivalence test), so that noise does not look like
      sameness. The sign is there when reward and at least one of the others are known, and all that
      are known are nothing.
    - *Lost.* In its best window guidance was worth twice the tolerance for certain (the lower end
      of the interval); now it is worth less than a third of that, for certain.

    Neither counts where the policy has learned what the memory knew: both rewards are at `solved`
    or above; or scratch rollouts have risen since the best window by at least half of what the
    difference has shrunk. It calms down when a difference is one and a half times its tolerance
    and guidance is worth half of its best again.

    Args:
        window: updates that are compared.
        reward: tolerance for the difference of mean rewards, in units of the reward.
        relative: tolerance for length and entropy, as a share of those of scratch rollouts.
        nats: least tolerance for entropy, for policies that are nearly certain.
        solved: reward at which nothing is left to be guided; infinity for unbounded rewards.

    Raises:
        ConfigError: fewer than 5 updates or a tolerance that is none.
    """

    name = "behaviour_collapse"
    kept: ClassVar[tuple[str, ...]] = ("pairs", "best")

    def __init__(
        self,
        *,
        window: int = 30,
        reward: float = 0.05,
        relative: float = 0.1,
        nats: float = 0.01,
        solved: float = 0.95,
    ) -> None:
        at_least(5, window=window)
        at_least(1e-9, reward=reward, nats=nats, solved=solved)
        share(relative=relative)
        self._window, self._reward, self._solved = window, reward, solved
        self._relative, self._nats = relative, nats
        self.pairs: dict[str, list[Pair]] = {kind: [] for kind in _KINDS}
        # Of the best window: least certain uplift, uplift, reward of scratch rollouts.
        self.best: list[float] = []

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        fresh = [self._push(kind, figures) for kind in _KINDS]
        if not any(fresh) or len(self.pairs["reward"]) < self._window:
            return None
        full = {kind: pairs for kind, pairs in self.pairs.items() if len(pairs) == self._window}
        known = {kind: _difference(pairs) for kind, pairs in full.items()}
        reward = known["reward"]
        if not self.best or reward.mean - reward.half > self.best[0]:
            self.best = [reward.mean - reward.half, reward.mean, reward.scratch]
        good, sign = self._learned(reward), self._sign(known)
        return self.episode(
            bool(sign) and not good,
            f"{sign} Guidance is shown and makes no difference: look at a few guided completions, "
            "at the hit rate, and at what the lessons used say",
            calm=good or self._recovered(known),
        )

    def _push(self, kind: str, figures: Figures) -> bool:
        guided, scratch = (finite(figures, f"{kind}_{arm}") for arm in ("guided", "scratch"))
        if guided is None or scratch is None:
            return False
        push(self.pairs[kind], [guided, scratch], self._window)
        return True

    def _sign(self, known: Mapping[str, _Difference]) -> str:
        within = [abs(d.mean) + d.half < self._tolerance(kind, d) for kind, d in known.items()]
        if len(known) > 1 and all(within):
            return (
                f"guided and scratch rollouts cannot be told apart over {self._window} updates in "
                f"{' and '.join(known)}."
            )
        most = known["reward"].mean + known["reward"].half
        if self._ever_helped and most < self.best[0] / 3:
            return (
                f"guided rollouts were {self.best[1]:.2f} better than scratch ones, now they are "
                f"at most {most:.2f} better over {self._window} updates."
            )
        return ""

    def _learned(self, reward: _Difference) -> bool:
        if min(reward.scratch, reward.scratch + reward.mean) >= self._solved:
            return True
        _, best, then = self.best
        lost, risen = best - reward.mean, reward.scratch - then
        return best >= 2 * self._reward and risen >= lost / 2

    def _recovered(self, known: Mapping[str, _Difference]) -> bool:
        apart = [abs(d.mean) >= 1.5 * self._tolerance(kind, d) for kind, d in known.items()]
        return any(apart) and not (self._ever_helped and known["reward"].mean < self.best[0] / 2)

    @property
    def _ever_helped(self) -> bool:
        return self.best[0] >= 2 * self._reward

    def _tolerance(self, kind: str, difference: _Difference) -> float:
        relative = self._relative * abs(difference.scratch)
        return {"reward": self._reward, "length": relative, "entropy": max(relative, self._nats)}[
            kind
        ]


def _difference(pairs: Sequence[Pair]) -> _Difference:
    differences = [guided - scratch for guided, scratch in pairs]
    level = mean([scratch for _, scratch in pairs])
    return _Difference(mean(differences), bound_of_mean(differences), level)


class HeadersVanish(Watch):
    """Rings when guided completions stop having the sections that the guidance asks for.

    Those sections are where the policy weighs what it was shown (arXiv 2510.16552); a policy that
    leaves them out answers as if nothing had been there. It rings where the mean of
    `headers_present` over the last `window` updates falls below `part` of the best window so far,
    if that was at least `least`; it calms down at 1.2 times that level.

    Args:
        window: updates that are averaged.
        part: of the best window.
        least: headers must have been there at all.

    Raises:
        ConfigError: no updates, or a share outside 0 to 1.
    """

    name = "headers_vanish"
    kept: ClassVar[tuple[str, ...]] = ("recent", "best")

    def __init__(self, *, window: int = 20, part: float = 0.5, least: float = 0.2) -> None:
        at_least(1, window=window)
        share(part=part, least=least)
        self._window, self._part, self._least = window, part, least
        self.recent: list[float] = []
        self.best = 0.0

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        present = finite(figures, "headers_present")
        if present is None:
            return None
        push(self.recent, present, self._window)
        if len(self.recent) < self._window:
            return None
        now = mean(self.recent)
        self.best = max(self.best, now)
        limit = self._part * self.best
        return self.episode(
            self.best >= self._least and now < limit,
            f"guided completions lose their sections: {now:.0%} have them now, {self.best:.0%} "
            "had them. The policy no longer weighs what it is shown; raise header_bonus, or "
            "lower the learning rate",
            calm=now >= 1.2 * limit,
        )
