"""What model calls cost, by role, and hard budgets that stop them beforehand."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from types import TracebackType
from typing import Any, Self

from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.types import Messages, Usage

__all__ = ["Ledger", "Reservation", "token_bound"]

_MOST_REASONS = 20  # distinct ones for each role; a provider may put a number of its own in each
_PER_MESSAGE = 16  # tokens that a chat template puts around a message, generously


class Ledger:
    """Counts what a model was asked and what it cost, and refuses what a budget does not allow.

    A model reserves the most that its next calls can cost before it makes them, and books what
    they did cost afterwards: a budget is never crossed, at the price of stopping a little early.
    Several models may share one ledger, and so one budget. Thread-safe.

    Args:
        max_calls: most requests sent, tries after a failure included.
        max_tokens: most prompt and completion tokens together.
        max_cost: most US dollars.

    Raises:
        ConfigError: a budget below 0, or one that is no number.

    >>> ledger = Ledger(max_calls=2)
    >>> with ledger.reserve("solve", calls=2, tokens=100) as held:
    ...     held.book(Usage(calls=1, prompt_tokens=9, completion_tokens=4))
    ...     held.book(Usage(calls=1, prompt_tokens=7, completion_tokens=5))
    >>> ledger.by_role()["solve"].tokens
    25
    >>> ledger.reserve("judge")
    Traceback (most recent call last):
        ...
    lanpo_memory.errors.BudgetExceeded: 1 call more for 'judge' would cross max_calls=2: 2 made...
    """

    def __init__(
        self,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        self.limits = {"max_calls": max_calls, "max_tokens": max_tokens, "max_cost": max_cost}
        for name, limit in self.limits.items():
            _check_limit(name, limit)
        self._by_role: defaultdict[str, Usage] = defaultdict(Usage)
        self._reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._held: list[Reservation] = []
        self._lock = threading.RLock()

    @property
    def total(self) -> Usage:
        """Everything booked so far."""
        with self._lock:
            return sum(self._by_role.values(), Usage())

    def by_role(self) -> dict[str, Usage]:
        """What was booked for each role: solve, summarise, reflect, judge, abstract."""
        with self._lock:
            return dict(self._by_role)

    def book(self, role: str, usage: Usage) -> None:
        """Add what was spent without a reservation: by a model that runs anyway."""
        with self._lock:
            self._by_role[role] += usage

    def note(self, role: str, reason: str) -> None:
        """Remember why a conversation got no answer; a score has no place to say so."""
        with self._lock:
            reasons = self._reasons[role]
            known = reason in reasons or len(reasons) < _MOST_REASONS
            reasons[reason if known else "other reasons"] += 1

    def reasons(self, role: str) -> list[tuple[str, int]]:
        """Why conversations of a role got no answer, and how many, the most common first."""
        with self._lock:
            return self._reasons[role].most_common() if role in self._reasons else []

    def reserve(
        self, role: str, *, calls: int = 1, tokens: int = 0, cost: float | None = 0.0
    ) -> Reservation:
        """Set aside the most that the next calls can cost; give back the rest on leaving it.

        Args:
            role: what the calls are for.
            calls: how many there are at least: each further try is reserved on its own.
            tokens: most tokens of prompts and completions together.
            cost: most US dollars, `None` where no price is known.

        Raises:
            BudgetExceeded: a budget could be crossed; nothing was spent.
            ConfigError: there is a budget in dollars, and no price.
        """
        with self._lock:
            self._check(role, "max_cost", cost, "US dollars", "spent")
            self._check(role, "max_calls", calls, "call" if calls == 1 else "calls", "made")
            self._check(role, "max_tokens", tokens, "tokens", "used")
            held = Reservation(self, role, calls, tokens, cost or 0.0)
            self._held.append(held)
            return held

    def _check(self, role: str, name: str, more: float | None, unit: str, done: str) -> None:
        limit = self.limits[name]
        if limit is None:
            return
        if more is None:
            raise ConfigError(
                "max_cost is set, but no price is known for this model: set max_tokens instead"
            )
        total = self.total
        spent = {"max_calls": total.calls, "max_tokens": total.tokens, "max_cost": total.cost}[name]
        held = sum(getattr(each, name.removeprefix("max_")) for each in self._held)
        if spent + held + more > limit:
            waiting = f", up to {held:,.6g} under way" if held else ""
            what = f"{more:,.6g} {unit} more for {role!r}" if more else f"another try for {role!r}"
            raise BudgetExceeded(
                f"{what} would cross {name}={limit:,.6g}: "
                f"{spent:,.6g} {done}{waiting}. The call was not made; raise the budget to go on"
            )

    def _settle(self, held: Reservation, usage: Usage) -> None:
        with self._lock:
            self._by_role[held.role] += usage
            held.calls = max(0, held.calls - usage.calls)
            held.tokens = max(0, held.tokens - usage.tokens)
            held.cost = max(0.0, held.cost - usage.cost)

    def _release(self, held: Reservation) -> None:
        with self._lock:
            self._held = [each for each in self._held if each is not held]


def _check_limit(name: str, limit: Any) -> None:
    if limit is not None and not (isinstance(limit, int | float) and limit >= 0):
        raise ConfigError(f"{name} must be a number of 0 or more, got {limit!r}")


class Reservation:
    """What a `Ledger` has set aside: a context manager, made by `Ledger.reserve`."""

    def __init__(self, ledger: Ledger, role: str, calls: int, tokens: int, cost: float) -> None:
        self.role, self.calls, self.tokens, self.cost = role, calls, tokens, cost
        self._ledger = ledger

    def book(self, usage: Usage) -> None:
        """Add what a call did cost, in place of as much of what was set aside."""
        self._ledger._settle(self, usage)

    def release(self) -> None:
        """Give back what was not spent; doing it twice does nothing."""
        self._ledger._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def token_bound(conversation: Messages) -> int:
    """Return a number of tokens that a conversation's prompt does not exceed.

    A tokenizer over bytes makes no more tokens than there are bytes. That is some four times as
    many as there really are: for models whose own count is not at hand.

    >>> token_bound([{"role": "user", "content": "2 + 3?"}])
    22
    """
    return sum(len(str(m.get("content") or "").encode()) + _PER_MESSAGE for m in conversation)
