"""Training reward rises, held-out reward does not."""

from __future__ import annotations

from typing import ClassVar

from lanpo_rl.alarms.base import Figures, Watch, at_least, share
from lanpo_rl.alarms.series import finite, mean, push

__all__ = ["Leakage"]

_HELD_OUT = ("eval_reward", "eval_reward_guided")


class Leakage(Watch):
    """Rings when guided rollouts gain much and held-out problems gain next to nothing of it.

    *Training rise*: the mean of `reward_guided` over the last `window` updates, minus the level of
    the policy without help at the first evaluation (mean of `reward_scratch` over `window` updates,
    or of `reward_guided` where no rollout goes without guidance). So guidance that gives the answer
    away from the first step on is seen, too. *Held-out rise*: the mean of the last two evaluations
    minus the first one. It rings after `evaluations` evaluations in a row, `wait` steps or more
    after the first, at which training rose by `rise` more than held-out, and held-out by less than
    `transfer` of what training did. It calms down at one and a half times that part.

    An evaluation with memory (`eval_reward_guided`) counts as held-out, too: the larger rise of the
    two decides. Without one, a policy that learns to read its memory, and nothing else, rings like
    one that is told the answers; the message says so.

    The two figures are given once for each evaluation. Where none has come `2 * wait` steps after
    guidance began it says once that it cannot watch, and does not ring.

    Args:
        rise: how much further training must have risen, in units of the reward (taken to be 0 to
            1).
        transfer: part of the training rise that held-out problems must show.
        window: updates that are averaged.
        wait: steps that learning may take to show.
        evaluations: evaluations in a row.

    Raises:
        ConfigError: a share outside 0 to 1, a number below 1, or no rise.
    """

    name = "leakage"
    kept: ClassVar[tuple[str, ...]] = (
        "guided", "scratch", "start", "first_step", "first", "last", "misses", "since", "said",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rise: float = 0.25,
        transfer: float = 0.15,
        window: int = 20,
        wait: int = 50,
        evaluations: int = 3,
    ) -> None:
        at_least(1e-9, rise=rise)
        at_least(1, window=window, wait=wait, evaluations=evaluations)
        share(transfer=transfer)
        self._rise, self._transfer = rise, transfer
        self._window, self._wait, self._evaluations = window, wait, evaluations
        self.guided: list[float] = []
        self.scratch: list[float] = []
        self.start: float | None = None  # training level at the first evaluation
        self.first_step: int | None = None
        self.first: dict[str, float] = {}
        self.last: dict[str, list[float]] = {}
        self.misses: list[int] = []  # evaluations in a row that were flat
        self.since: int | None = None  # first step with guided rollouts
        self.said = False

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        self._train(step, figures)
        evaluated = self._evaluate(step, figures)
        if self.start is None and self.first and len(self.guided) >= self._window:
            self.start = mean(self.scratch or self.guided)
        if evaluated and self.start is not None and self.first_step is not None:
            return self._judge(step - self.first_step, mean(self.guided) - self.start)
        if not self.first and self.since is not None and not self.said:
            return self._cannot(step - self.since)
        return None

    def _cannot(self, steps: int) -> str | None:
        if steps < 2 * self._wait:
            return None
        self.said = True
        return (
            f"cannot watch for leakage: there was no evaluation in {steps} steps with guidance. "
            "Give the trainer an eval_dataset, eval_strategy='steps' and eval_on_start=True"
        )

    def _train(self, step: int, figures: Figures) -> None:
        for name, values in (("reward_guided", self.guided), ("reward_scratch", self.scratch)):
            value = finite(figures, name)
            if value is not None:
                push(values, value, self._window)
        if self.since is None and self.guided:
            self.since = step

    def _evaluate(self, step: int, figures: Figures) -> bool:
        found = {n: v for n in _HELD_OUT if (v := finite(figures, n)) is not None}
        for name, value in found.items():
            self.first.setdefault(name, value)
            push(self.last.setdefault(name, []), value, 2)
        if found and self.first_step is None:
            self.first_step = step
        return bool(found)

    def _judge(self, steps: int, train: float) -> str | None:
        held_out = max(mean(last) - self.first[name] for name, last in self.last.items())
        flat = train - held_out >= self._rise and held_out < self._transfer * train
        if not flat or steps < self._wait:
            self.misses = []
        elif steps not in self.misses:  # the two figures may come in two calls
            push(self.misses, steps, self._evaluations)
        return self.episode(
            len(self.misses) >= self._evaluations,
            f"training reward rises, held-out does not: guided rollouts are {train:+.2f} above "
            f"where the policy began, held-out problems {held_out:+.2f}. Either guidance gives the "
            "answers away (read a few guided prompts), or the policy only learns to read its "
            "memory (evaluate with memory, too)",
            calm=train < 0.5 * self._rise or held_out >= 1.5 * self._transfer * train,
        )
