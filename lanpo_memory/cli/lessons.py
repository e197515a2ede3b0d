"""`lanpo pool utility`: what became of the rollouts that saw a lesson."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from lanpo_memory.cli.common import (
    NamespaceOption,
    PoolOption,
    command,
    first_words,
    look_into,
)
from lanpo_memory.cli.terminal import cut, to_screen, wrapped
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Experience
from lanpo_memory.utility import Utility

__all__ = ["utility"]

_FOOTER = (
    "mean: how often rollouts with the lesson succeed, recent ones first (0.5: nothing is known). "
    "uplift: their reward minus that of rollouts of the same group without it. Both with a 95 % "
    "interval. causal: chance alone decided which rollouts saw the lesson; correlational: "
    "something else may have; none: never compared. *: other lessons were shown with it, and each "
    "got the whole difference."
)


class Sort(StrEnum):
    """What the best lesson has most of."""

    uplift = "uplift"
    mean = "mean"
    exposures = "exposures"


@command()
def utility(
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many lessons.")
    ] = 20,
    sort: Annotated[Sort, typer.Option(help="What comes first: the highest.")] = Sort.uplift,
) -> None:
    """List the lessons that were shown, with what became of the rollouts that saw them.

    Example: lanpo pool utility --pool pool.db --sort mean
    """
    console = to_screen()
    with look_into(pool, namespace) as opened:
        table = opened.utility()
        best = sorted(table, key=lambda lesson: (_key(table[lesson], sort), lesson))[:limit]
        texts = _experiences_of(opened, best)
    if not table:
        console.print("no lesson of this pool was ever shown to a rollout: every utility is 0.5")
        return
    _print_table(console, {lesson: table[lesson] for lesson in best}, texts)
    console.print(f"\n{len(best)} of {len(table):,} lessons that were shown, by {sort}")
    console.print(wrapped("", _FOOTER, console))


def _key(record: Utility, sort: Sort) -> float:
    """Ascending, so that the highest comes first, and what is unknown last."""
    value = getattr(record, sort)
    return float("inf") if value is None else -float(value)


def _experiences_of(pool: ExperiencePool, lessons: Collection[str]) -> dict[str, Experience]:
    """The newest experience of each lesson; a lesson may have none left."""
    wanted, found = set(lessons), dict[str, Experience]()
    if not wanted:
        return found
    for experience in pool.store.scan("experience", newest_first=True):
        if experience.lesson_id in wanted:
            wanted.remove(experience.lesson_id)
            found[experience.lesson_id] = experience
            if not wanted:
                break
    return found


def _print_table(
    console: Console, records: dict[str, Utility], texts: dict[str, Experience]
) -> None:
    console.print("lesson    exposures  mean  95 %          uplift  95 %            evidence")
    for lesson, record in records.items():
        uplift, bounds = "     -", "-"
        if record.uplift is not None:
            uplift = f"{record.uplift:+.2f}"
            bounds = f"{record.uplift_low:+.2f} to {record.uplift_high:+.2f}"
        console.print(
            f"{lesson[:8]}  {record.exposures:>9,}  {record.mean:.2f}  "
            f"{record.low:.2f} to {record.high:.2f}  {uplift:>6}  {bounds:<14}  "
            f"{record.evidence}{' *' if record.shared else ''}"
        )
        experience = texts.get(lesson)
        if experience is None:
            console.print(f"{'':<10}no experience holds this lesson any more")
            continue
        text = cut(first_words(experience), max(20, console.width - 24))
        console.print(f"{'':<10}{experience.id[:12]}  {text}")
