"""A few lessons that make most of the guidance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.alarms.base import Figures, Watch, at_least, is_state, share
from lanpo_rl.alarms.series import finite, push

__all__ = ["LessonsShown", "Monoculture"]

_TOP = 3


class LessonsShown:
    """Which lessons were in the prompts of the last steps, for the alarm `Monoculture`.

    Args:
        window: steps that are remembered.
        prompts: with fewer guided prompts than this there are no figures: three lessons are most
            of the guidance of any five prompts.

    Raises:
        ConfigError: fewer than one of either.

    >>> shown = LessonsShown(window=20, prompts=4)
    >>> shown.add([("a",), ("b", "c"), ("d",), ("e",)])
    >>> shown.figures()
    {'top_lesson_share': 0.6, 'lessons_shown': 5.0}
    """

    def __init__(self, *, window: int = 20, prompts: int = 50) -> None:
        at_least(1, window=window, prompts=prompts)
        self._window, self._prompts = window, prompts
        self._steps: list[list[list[str]]] = []

    def add(self, lessons: Sequence[Sequence[str]]) -> None:
        """Remember a step: for each guided prompt (one a group) the ids of its lessons."""
        push(self._steps, [list(dict.fromkeys(ids)) for ids in lessons if ids], self._window)

    def figures(self) -> dict[str, float]:
        """`top_lesson_share` and `lessons_shown` of the window; nothing for few prompts.

        The first is the share of the three lessons that are used most, each lesson of each prompt
        counted once; with one lesson a prompt that is the share of prompts.
        """
        prompts = [ids for step in self._steps for ids in step]
        if len(prompts) < self._prompts:
            return {}
        uses = Counter(lesson for ids in prompts for lesson in ids)
        top = sum(count for _, count in uses.most_common(_TOP))
        return {"top_lesson_share": top / uses.total(), "lessons_shown": float(len(uses))}

    def state(self) -> dict[str, Any]:
        """Everything remembered, as JSON data."""
        return {"steps": [[list(ids) for ids in step] for step in self._steps]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            InvalidInputError: it is not such a state.
        """
        if not is_state(state, {"steps"}):
            raise InvalidInputError("this is not the state of the lessons shown, {'steps': ...}")
        self._steps = [[list(ids) for ids in step] for step in state["steps"]]


class Monoculture(Watch):
    """Rings when three lessons make most of the guidance of a pool that holds many.

    `top_lesson_share` is the share of the three lessons used most in a window (see
    `LessonsShown`). Uneven use is natural: where the use of k lessons follows Zipf's law the first
    three have 1.83 / (1 + 1/2 + ... + 1/k) of it, .46 for 30 lessons and .35 for 100. It rings
    after `patience` updates in a row at `part` or more, in a pool of `pool` entries at least, and
    calms down below 0.8 times that share. Without `pool_size` it does not ring.

    Args:
        part: share of the three lessons that rings.
        pool: least number of entries; of a small pool three lessons are naturally a large part.
        patience: updates in a row.

    Raises:
        ConfigError: a share outside 0 to 1, a pool of three or fewer, or no patience.
    """

    name = "monoculture"
    kept = ("high",)

    def __init__(self, *, part: float = 0.65, pool: int = 30, patience: int = 5) -> None:
        share(part=part)
        at_least(_TOP + 1, pool=pool)
        at_least(1, patience=patience)
        self._part, self._pool, self._patience = part, pool, patience
        self.high = 0  # updates in a row

    def update(self, step: int, figures: Figures) -> str | None:
        """See `Alarm.update`."""
        top, size = finite(figures, "top_lesson_share"), finite(figures, "pool_size")
        if top is None or size is None:
            return None
        self.high = self.high + 1 if top >= self._part and size >= self._pool else 0
        shown = finite(figures, "lessons_shown")
        of = "" if shown is None else f" of {shown:.0f} that were shown"
        return self.episode(
            self.high >= self._patience,
            f"three lessons{of} make {top:.0%} of the guidance, in a pool of {size:.0f} entries. "
            "Look at them with `lanpo pool stats`; raise gamma or shortlist, or sort by relevance",
            calm=top < 0.8 * self._part or size < self._pool,
        )
