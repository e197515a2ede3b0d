"""What became of the rollouts that a lesson guided: the evidence behind its utility."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import add
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Exposure

__all__ = ["Evidence", "Utility", "UtilityLedger"]

Evidence = Literal["none", "correlational", "causal"]

_Z = 1.959963984540054  # leaves 2.5 % of a normal distribution on either side


class Utility(BaseModel):
    """A lesson's record. `mean` in 0..1 is what retrieval sorts by; 0.5 says nothing is known.

    `low` and `high` bound the mean, `uplift_low` and `uplift_high` the uplift, both at 95 %.
    `uplift` is the mean task reward (clipped to 0..1) with the lesson minus that without it, from
    the groups that have rollouts of both kinds; `None` where there was no such group.

    `evidence` is ``causal`` if chance alone decided which rollouts of those groups saw the lesson,
    else ``correlational``. A lesson with comparisons of both kinds is judged by the causal ones
    only. `shared`: some of those rollouts saw other lessons too, and each got the whole difference.
    """

    model_config = ConfigDict(frozen=True)

    mean: float = 0.5
    low: float = 0.0
    high: float = 1.0
    weight: float = 0.0
    exposures: int = 0
    reward_guided: float | None = None
    reward_scratch: float | None = None
    uplift: float | None = None
    uplift_low: float = -1.0
    uplift_high: float = 1.0
    evidence: Evidence = "none"
    shared: bool = False


class _Comparison(NamedTuple):
    """Guided against scratch rollouts within groups, summed over the groups.

    A group with g guided and s scratch rollouts, of mean rewards x and y, has the Mantel-Haenszel
    weight v = g·s/(g+s): Σv(x-y) / Σv is the uplift.
    """

    weight: float  # Σ v
    guided: float  # Σ v·x
    scratch: float  # Σ v·y
    guided_noise: float  # Σ v²/g, and one arm's mean is worth (Σ v)² / Σ v²/g single rewards
    scratch_noise: float  # Σ v²/s
    squares: float  # Σ v²
    square_differences: float  # Σ v²·(x-y)
    square_spread: float  # Σ v²·(x-y)²

    @classmethod
    def of(cls, exposure: Exposure) -> _Comparison | None:
        g, s = len(exposure.guided), len(exposure.scratch)
        if not g or not s:
            return None
        x, y = _clipped_sum(exposure.guided) / g, _clipped_sum(exposure.scratch) / s
        v, d = g * s / (g + s), x - y
        return cls(v, v * x, v * y, v * v / g, v * v / s, v * v, v * v * d, v * v * d * d)

    def plus(self, other: _Comparison) -> _Comparison:
        return _Comparison(*map(add, self, other))

    @property
    def uplift(self) -> float:
        return (self.guided - self.scratch) / self.weight

    def interval(self) -> tuple[float, float]:
        """Bounds of the uplift at 95 %, on the wide side, from the first group on.

        Agresti and Caffo's interval for two proportions (one success and one failure more in each
        arm, https://doi.org/10.1080/00031305.2000.10474560), around the Mantel-Haenszel difference
        (https://doi.org/10.2307/2530643). Rewards of one group are alike, so that the variance of
        the pooled rewards is an upper bound. Where the groups' own differences vary by more than
        that (a lesson that helps some problems only), their spread decides.
        """
        n = self.weight**2 / self.guided_noise
        m = self.weight**2 / self.scratch_noise
        x = (n * self.guided / self.weight + 1) / (n + 2)
        y = (m * self.scratch / self.weight + 1) / (m + 2)
        pooled = x * (1 - x) / (n + 2) + y * (1 - y) / (m + 2)
        uplift = self.uplift
        spread = self.square_spread + uplift * (uplift * self.squares - 2 * self.square_differences)
        # Student's quantile for n + m degrees of freedom, to the first order: few rewards, wider.
        quantile = _Z * (1 + (_Z**2 + 1) / (4 * (n + m)))
        half = quantile * math.sqrt(max(pooled, spread / self.weight**2))
        return max(-1.0, x - y - half), min(1.0, x - y + half)


class _Account:
    __slots__ = (
        "comparison",
        "exposures",
        "guided",
        "guided_n",
        "n",
        "randomised",
        "scratch",
        "scratch_n",
        "shared",
        "w",
    )

    def __init__(self) -> None:
        self.n = self.w = self.guided = self.scratch = 0.0
        self.exposures = self.guided_n = self.scratch_n = 0
        self.comparison: _Comparison | None = None
        self.randomised = self.shared = False

    @property
    def evidence(self) -> Evidence:
        if self.comparison is None:
            return "none"
        return "causal" if self.randomised else "correlational"

    def compare(self, group: _Comparison, *, randomised: bool, shared: bool) -> None:
        """Add a group; the first randomised one replaces all that chance did not decide."""
        if self.randomised and not randomised:
            return
        if self.comparison is None or self.randomised != randomised:
            self.comparison, self.shared = group, shared
        else:
            self.comparison, self.shared = self.comparison.plus(group), self.shared or shared
        self.randomised = randomised


class UtilityLedger:
    """Decayed Beta means, one account per lesson, fed with exposures in the order of the log.

    An exposure adds its share of the group, split into success and failure by the task reward
    (clipped to 0..1), after what was there has been multiplied by `decay`. Mean = (w + 1)/(n + 2).
    The lessons of one prompt share the credit: each is booked in full. The uplift does not decay:
    it compares within a group, and so does not drift with the policy as rewards do.

    >>> ledger = UtilityLedger()
    >>> ledger.book([Exposure(problem_id="p", lesson_ids=("a",), guided=(1.0,), scratch=(0.0,))])
    >>> round(ledger.mean("a"), 2), ledger.mean("b")
    (0.67, 0.5)
    >>> ledger.table()["a"].uplift, ledger.table()["a"].evidence
    (1.0, 'correlational')
    """

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0.0 < decay <= 1.0:
            raise ConfigError(f"decay must lie in (0, 1], got {decay}")
        self.decay = decay
        self._accounts: dict[str, _Account] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._accounts.clear()

    def book(self, exposures: Iterable[Exposure]) -> None:
        """Add exposures, oldest first."""
        for exposure in exposures:
            for lesson_id in exposure.lesson_ids:
                self._book(lesson_id, exposure)
            group = _Comparison.of(exposure)
            if group is not None:
                lessons = set(exposure.lesson_ids)
                for lesson_id in lessons:
                    self._accounts[lesson_id].compare(
                        group, randomised=exposure.randomised, shared=len(lessons) > 1
                    )

    def _book(self, lesson_id: str, exposure: Exposure) -> None:
        account = self._accounts.get(lesson_id)
        if account is None:
            account = self._accounts[lesson_id] = _Account()
        guided, size = exposure.guided, exposure.group_size
        account.n = self.decay * account.n + len(guided) / size
        account.w = self.decay * account.w + _clipped_sum(guided) / size
        account.exposures += 1
        account.guided += sum(guided)
        account.guided_n += len(guided)
        account.scratch += sum(exposure.scratch)
        account.scratch_n += len(exposure.scratch)

    def mean(self, lesson_id: str) -> float:
        """The Beta mean of a lesson, 0.5 for one that was never tried."""
        account = self._accounts.get(lesson_id)
        return 0.5 if account is None else (account.w + 1) / (account.n + 2)

    def upper_bound(self, lesson_id: str, *, min_exposures: int) -> float:
        """The `high` of a lesson, 1.0 for one with fewer than `min_exposures` exposures."""
        account = self._accounts.get(lesson_id)
        if account is None or account.exposures < min_exposures:
            return 1.0
        return _wilson(account.w, account.n)[1]

    def table(self) -> dict[str, Utility]:
        """Every lesson's record, by lesson id."""
        return {lesson: self._utility(lesson, a) for lesson, a in self._accounts.items()}

    def _utility(self, lesson_id: str, account: _Account) -> Utility:
        low, high = _wilson(account.w, account.n)
        compared = account.comparison
        uplift_low, uplift_high = compared.interval() if compared else (-1.0, 1.0)
        return Utility(
            mean=self.mean(lesson_id),
            low=low,
            high=high,
            weight=account.n,
            exposures=account.exposures,
            reward_guided=account.guided / account.guided_n if account.guided_n else None,
            reward_scratch=account.scratch / account.scratch_n if account.scratch_n else None,
            uplift=compared.uplift if compared else None,
            uplift_low=uplift_low,
            uplift_high=uplift_high,
            evidence=account.evidence,
            shared=account.shared,
        )


def _clipped_sum(rewards: Iterable[float]) -> float:
    return sum([min(1.0, max(0.0, r)) for r in rewards])


def _wilson(w: float, n: float) -> tuple[float, float]:
    """Wilson's score interval at 95 % for w successes out of n; 0 to 1 for n = 0.

    Source: https://doi.org/10.1080/01621459.1927.10502953
    """
    spread = w * max(0.0, n - w) / n if n else 0.0
    centre = (w + _Z * _Z / 2) / (n + _Z * _Z)
    half = _Z * math.sqrt(spread + _Z * _Z / 4) / (n + _Z * _Z)
    return max(0.0, centre - half), min(1.0, centre + half)
