"""What an alarm is, and what the alarms of this package share: episodes, and a plain state."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Set
from typing import Any, ClassVar, Protocol

from lanpo_memory.errors import ConfigError, InvalidInputError

__all__ = ["Alarm", "Figures", "Watch", "at_least", "is_state", "share"]

Figures = Mapping[str, float]
"""The averages of one step by name, without a prefix. A figure that is not known is left out."""


class Alarm(Protocol):
    """Watches the figures of a run for one failure.

    It rings once an episode: with a message in the step in which the failure shows, then silently
    until it has calmed down. It changes nothing in the run and draws no random numbers.
    """

    name: str
    ringing: bool

    def update(self, step: int, figures: Figures) -> str | None:
        """Look at a step; return the message when it begins to ring, else `None`.

        Called in the order of steps: after each, or after a few with their averages. One step may
        come in two calls, as with an evaluation. Figures may be missing, NaN or infinite.
        """

    def state(self) -> dict[str, Any]:
        """Everything remembered, as JSON data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            InvalidInputError: it is not the state of this alarm.
        """


class Watch:
    """A base for alarms: set `name`, list in `kept` what is to be remembered, write `update`.

    Attributes that are named in `kept` must be JSON data: numbers, texts, lists, dictionaries.

    >>> class Short(Watch):
    ...     name = "short_answers"
    ...     def update(self, step: int, figures: Figures) -> str | None:
    ...         return self.episode(figures.get("length_scratch", 99) < 10, "answers are short")
    >>> alarm = Short()
    >>> [alarm.update(i, {"length_scratch": n}) for i, n in enumerate((50, 9, 8, 50, 7))]
    [None, 'answers are short', None, None, 'answers are short']
    >>> alarm.state()
    {'ringing': True}
    """

    name: str = "watch"
    kept: ClassVar[tuple[str, ...]] = ()
    ringing: bool = False

    def episode(self, bad: bool, message: str, *, calm: bool | None = None) -> str | None:
        """Return the message if this is the beginning of an episode.

        Args:
            bad: the failure shows.
            message: what to say.
            calm: the failure is over, by default as soon as it does not show. With some distance
                between the two an alarm on the edge does not ring again and again.
        """
        if not self.ringing and bad:
            self.ringing = True
            return message
        if not bad and (calm or calm is None):
            self.ringing = False
        return None

    def state(self) -> dict[str, Any]:
        """See `Alarm.state`."""
        return {name: copy.deepcopy(getattr(self, name)) for name in ("ringing", *self.kept)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Alarm.restore`."""
        wanted = {"ringing", *self.kept}
        if not is_state(state, wanted):
            raise InvalidInputError(
                f"this is not the state of the alarm {self.name!r}, which holds "
                f"{', '.join(sorted(wanted))}; resume with the alarms of the checkpoint"
            )
        for name in wanted:
            setattr(self, name, copy.deepcopy(state[name]))


def is_state(state: object, keys: Set[str]) -> bool:
    """Whether this is a mapping with these keys and no others."""
    return isinstance(state, Mapping) and set(state) == keys


def at_least(low: float, **settings: float) -> None:
    """Refuse settings below a bound.

    Raises:
        ConfigError: one is smaller, or is no number.
    """
    for name, value in settings.items():
        if not _is_number(value) or not value >= low:
            raise ConfigError(f"{name} must be a number of at least {low:g}, got {value!r}")


def share(**settings: float) -> None:
    """Refuse settings that are no share.

    Raises:
        ConfigError: one is outside (0, 1).
    """
    for name, value in settings.items():
        if not _is_number(value) or not 0 < value < 1:
            raise ConfigError(f"{name} must lie between 0 and 1, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
