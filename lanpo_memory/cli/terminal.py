"""How commands write: to the letter, within the width of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["counted", "cut", "defused", "progress", "report", "to_screen", "waiting", "wrapped"]

_LEAST_WIDTH = 40
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "�")


def to_screen() -> Console:
    """Where results go. What people and models wrote has no markup and no emoji codes."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def report() -> Console:
    """Where progress and notes go: they are no part of the result."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun in singular or plural."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def defused(text: str) -> str:
    """Return a text on one line without control codes: what people wrote must not act."""
    return " ".join(text.split()).translate(_CONTROLS)


def cut(text: str, room: int) -> str:
    """Return the start of a text on one line of at most `room` cells, control codes defused."""
    line = defused(text)
    if cell_len(line) <= room:
        return line
    return set_cell_size(line, room - 1).rstrip() + "…"


def wrapped(label: str, text: str, console: Console) -> str:
    """Return a paragraph that hangs to the right of its label, as wide as the console."""
    return textwrap.fill(
        text.translate(_CONTROLS),
        max(_LEAST_WIDTH, console.width),
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
    )


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on the terminal; nothing where there is none."""
    console = report()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what takes a while; nothing where there is no terminal."""
    with report().status(what):
        yield
