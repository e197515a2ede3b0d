"""All alarms of a run in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_rl.alarms.base import Alarm, Figures, at_least
from lanpo_rl.alarms.collapse import BehaviourCollapse, HeadersVanish
from lanpo_rl.alarms.gradients import GradientGrowth
from lanpo_rl.alarms.leakage import Leakage
from lanpo_rl.alarms.monoculture import Monoculture
from lanpo_rl.alarms.rot import NewEntries, SummaryDrift

__all__ = ["Alarms", "default_alarms"]


class Alarms:
    """What a trainer holds: told the figures of each step, it says which alarms begin to ring.

    Args:
        alarms: any objects that are an `Alarm`, in the order of their messages.

    Raises:
        ConfigError: two alarms have one name.

    >>> alarms = default_alarms()
    >>> alarms.update(0, {"grad_norm": float("inf")})[0][0]
    'gradient_norm'
    >>> alarms.figures()["alarm_gradient_norm"], alarms.figures()["alarm_leakage"]
    (1.0, 0.0)
    """

    def __init__(self, alarms: Sequence[Alarm]) -> None:
        self.alarms = tuple(alarms)
        names = [alarm.name for alarm in self.alarms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"two alarms are called {', '.join(twice)}; each needs its own name")

    def update(self, step: int, figures: Figures) -> list[tuple[str, str]]:
        """Tell all alarms about a step; return name and message of those that begin to ring."""
        said = [(alarm.name, alarm.update(step, figures)) for alarm in self.alarms]
        return [(name, message) for name, message in said if message is not None]

    def figures(self) -> dict[str, float]:
        """`alarm_NAME` for each alarm: 1 while it rings, else 0."""
        return {f"alarm_{alarm.name}": float(alarm.ringing) for alarm in self.alarms}

    def state(self) -> dict[str, Any]:
        """The states of all alarms by name, as JSON data."""
        return {alarm.name: alarm.state() for alarm in self.alarms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned.

        Alarms that were not there then begin anew; states of alarms that are no longer there are
        left out.

        Raises:
            InvalidInputError: a state is not that of its alarm.
        """
        if not isinstance(state, Mapping):
            raise InvalidInputError("the state of the alarms must be a mapping from their names")
        for alarm in self.alarms:
            if alarm.name in state:
                alarm.restore(state[alarm.name])


def default_alarms(*, every: int = 1, max_grad_norm: float = 1.0) -> Alarms:
    """Return an alarm for every failure this package knows, with its default thresholds.

    Args:
        every: optimizer steps between two updates. Windows cover the same steps with fewer updates
            then, with 5 at least: averages of several steps are as much surer.
        max_grad_norm: what gradients are clipped at; smaller ones may grow.

    Raises:
        ConfigError: `every` is below 1.
    """
    at_least(1, every=every)

    def window(steps: int) -> int:
        return max(5, math.ceil(steps / every))

    return Alarms(
        [
            Leakage(window=window(20)),
            BehaviourCollapse(window=window(30)),
            HeadersVanish(window=window(20)),
            GradientGrowth(floor=max_grad_norm, window=window(20), reference=window(20)),
            Monoculture(patience=math.ceil(5 / every)),
            SummaryDrift(),
            NewEntries(window=window(30)),
        ]
    )
