"""What became of the rollouts that a lesson guided: the evidence behind its utility."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Exposure

__all__ = ["Utility", "UtilityLedger"]


class Utility(BaseModel):
    """A lesson's record. `mean` in 0..1 is what retrieval sorts by; 0.5 says nothing is known."""

    model_config = ConfigDict(frozen=True)

    mean: float = 0.5
    weight: float = 0.0
    exposures: int = 0
    reward_guided: float | None = None
    reward_scratch: float | None = None


class _Account:
    __slots__ = ("exposures", "guided", "n", "scratch", "w")

    def __init__(self) -> None:
        self.n = self.w = 0.0
        self.exposures = 0
        self.guided: list[float] = [0.0, 0.0]  # sum, count
        self.scratch: list[float] = [0.0, 0.0]


class UtilityLedger:
    """Decayed Beta means, one account per lesson, fed with exposures in the order of the log.

    An exposure adds its share of the group, split into success and failure by the task reward
    (clipped to 0..1), after what was there has been multiplied by `decay`. Mean = (w + 1)/(n + 2).
    The lessons of one prompt share the credit: each is booked in full.

    >>> ledger = UtilityLedger()
    >>> ledger.book([Exposure(problem_id="p", lesson_ids=("a",), guided=(1.0,))])
    >>> round(ledger.mean("a"), 2), ledger.mean("b")
    (0.67, 0.5)
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

    def _book(self, lesson_id: str, exposure: Exposure) -> None:
        account = self._accounts.setdefault(lesson_id, _Account())
        rewards = [min(1.0, max(0.0, r)) for r in exposure.guided]
        account.n = self.decay * account.n + len(rewards) / exposure.group_size
        account.w = self.decay * account.w + sum(rewards) / exposure.group_size
        account.exposures += 1
        for total, values in (
            (account.guided, exposure.guided),
            (account.scratch, exposure.scratch),
        ):
            total[0] += sum(values)
            total[1] += len(values)

    def mean(self, lesson_id: str) -> float:
        """The Beta mean of a lesson, 0.5 for one that was never tried."""
        account = self._accounts.get(lesson_id)
        return 0.5 if account is None else (account.w + 1) / (account.n + 2)

    def table(self) -> dict[str, Utility]:
        """Every lesson's record, by lesson id."""
        return {lesson: self._utility(lesson, a) for lesson, a in self._accounts.items()}

    def _utility(self, lesson_id: str, account: _Account) -> Utility:
        return Utility(
            mean=self.mean(lesson_id),
            weight=account.n,
            exposures=account.exposures,
            reward_guided=_average(account.guided),
            reward_scratch=_average(account.scratch),
        )


def _average(total: list[float]) -> float | None:
    return total[0] / total[1] if total[1] else None
