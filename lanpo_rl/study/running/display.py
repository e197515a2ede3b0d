"""One display over all runs: how many are done, what is in progress, how long it may take yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lanpo_memory.cli.terminal import cut, defused
from lanpo_rl.study.running.outcomes import Event, OnEvent, Outcome

__all__ = ["Tally", "displayed", "duration"]

_ENOUGH = 0.05  # the share from which on a run's own speed tells how long it takes
_LABEL, _AMOUNT, _ELAPSED = 38, 6, 7  # characters; what is left goes to the bar and the note


def duration(seconds: float) -> str:
    """Say a duration as people do.

    >>> [duration(s) for s in (0.4, 59, 90, 7_500)]
    ['0 s', '59 s', '2 min', '2 h 05 min']
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Tally:
    """Counts of runs by what became of them, and a rough time left.

    Args:
        total: runs there are.
        processes: runs at a time.
        clock: in seconds.
    """

    def __init__(
        self, total: int, processes: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.done, self.found, self.crashed = total, 0, 0, 0
        self._processes, self._clock = processes, clock
        self._seconds: list[float] = []
        self._begun: dict[str, float] = {}
        self._shares: dict[str, float] = {}

    def take(self, event: Event) -> None:
        """Count an event."""
        key, outcome = event.job.key, event.outcome
        if event.kind == "begun":
            self._begun[key], self._shares[key] = self._clock(), 0.0
        elif event.kind == "told":
            self._shares[key] = event.share
        elif outcome is not None:
            self.done += 1
            self.found += event.kind == "found"
            self.crashed += outcome.status == "crashed"
            self._begun.pop(key, None)
            self._shares.pop(key, None)
            # Those without a result prepare something, and take another time.
            if outcome.status == "finished" and event.job.result:
                self._seconds.append(outcome.seconds)

    def left_s(self) -> float | None:
        """Seconds until all are done, if each takes as long as the usual one; `None`: unknown."""
        now = self._clock()
        usual = self._seconds or [
            (now - self._begun[key]) / share
            for key, share in self._shares.items()
            if share >= _ENOUGH
        ]
        if not usual:
            return None
        begun = sum(1 - share for share in self._shares.values())
        waiting = self.total - self.done - len(self._shares)
        slots = max(1, min(self._processes, waiting + len(self._shares)))
        return (begun + waiting) * median(usual) / slots

    def left(self) -> str:
        """The same for people, or nothing."""
        seconds = self.left_s()
        return "" if seconds is None or self.done == self.total else f"~{duration(seconds)}"


@contextmanager
def displayed(console: Console, total: int, processes: int) -> Iterator[OnEvent]:
    """Bars on a terminal, elsewhere one line for each run that ends.

    Args:
        console: where.
        total: runs there are.
        processes: runs at a time.

    Yields:
        What is to be told every event.
    """
    tally = Tally(total, processes)
    if not console.is_terminal:
        yield _Lines(console, tally)
        return
    bar = max(8, min(24, console.width - 72))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=bar),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    blanks = len(columns)
    note = max(1, console.width - _LABEL - bar - _AMOUNT - _ELAPSED - blanks)
    # Twice a second: the cores are for the runs.
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        yield _Bars(progress, tally, note)


class _Lines:
    """What has ended, a line each."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally

    def __call__(self, event: Event) -> None:
        tally = self._tally
        tally.take(event)
        if event.outcome is None or event.kind == "found":
            return
        left = tally.left()
        text = f"{tally.done}/{tally.total} {_became(event.outcome)}"
        self._console.print(text + (f", {left} left" if left else ""), soft_wrap=True)


class _Bars:
    """A bar for all, and one for each run in progress."""

    def __init__(self, progress: Progress, tally: Tally, note: int) -> None:
        self._progress, self._tally, self._note = progress, tally, note
        self._all = progress.add_task(
            "all runs", total=tally.total, amount=f"0/{tally.total}", note=""
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        tally, key = self._tally, event.job.key
        tally.take(event)
        if event.kind == "begun":
            self._tasks[key] = self._progress.add_task(
                cut(event.job.label, _LABEL), total=1.0, amount="0 %", note=""
            )
        elif event.kind == "told":
            self._progress.update(
                self._tasks[key],
                completed=event.share,
                amount=f"{event.share:.0%}".replace("%", " %"),
                note=cut(event.text, self._note),
            )
        elif event.outcome is not None:
            self._end(key, event.outcome)
        left = tally.left()
        self._progress.update(
            self._all,
            completed=tally.done,
            amount=f"{tally.done}/{tally.total}",
            note=cut(f"{left} left", self._note) if left else "",
        )

    def _end(self, key: str, outcome: Outcome) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._progress.remove_task(task)
        if outcome.status == "crashed":
            self._progress.console.print(_became(outcome), soft_wrap=True, markup=False)


def _became(outcome: Outcome) -> str:
    if outcome.status == "finished":
        return f"{outcome.label}: finished in {duration(outcome.seconds)}"
    return f"{outcome.label}: crashed: {defused(outcome.reason)}"
