"""`lanpo pool calibrate`: a gamma at which the wanted share of problems finds guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lanpo_memory.calibration import Calibration, calibrate_gamma, evenly
from lanpo_memory.cli.common import NamespaceOption, PoolOption, command
from lanpo_memory.cli.embedding import (
    Bf16Option,
    EmbedderOption,
    about_similarity,
    searchable,
)
from lanpo_memory.cli.problems import read_problems
from lanpo_memory.cli.terminal import counted, to_screen, waiting, wrapped
from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import Guide

__all__ = ["calibrate"]

_LABEL = 12  # cells, of the labels below the curve


@command()
def calibrate(
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    target: Annotated[
        float, typer.Option(metavar="0..1", help="Share of problems that should find guidance.")
    ] = 0.5,
    problems: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON Lines with `problem`, `question` or `text`, or strings: the problems to "
            "come. Without: the pool's own, each without itself.",
        ),
    ] = None,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
    drop_templates: Annotated[
        bool,
        typer.Option("--drop-templates", help="Do not count the same template with other numbers."),
    ] = False,
    no_save: Annotated[bool, typer.Option("--no-save", help="Only look.")] = False,
) -> None:
    """Find the gamma at which a wanted share of problems gets guidance, and keep it in the pool.

    Gamma is the least similarity of an experience that is shown. What it means depends on the
    scorer and on what the pool holds, so no value is right everywhere. Every run with this pool and
    scorer takes the value kept, unless it names its own. Lines of FILE that cannot be read are
    named; the others count, and the exit code is 1.

    Example: lanpo pool calibrate --target 0.5 --pool pool.db
    """
    if not 0.0 < target <= 1.0:
        raise ConfigError(f"target must lie in (0, 1], got {target:g}")
    given, errors = (None, []) if problems is None else read_problems(problems)
    console = to_screen()
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
        guide = Guide(opened, drop_templates=drop_templates)
        queries = None if given is None else evenly(given)
        with waiting("searching guidance for each problem"):
            found = calibrate_gamma(guide, queries, target=target, save=not no_save)
        _print_curve(console, found)
        whose = "of the pool's own problems, each without itself"
        if given is not None:
            whose = f"of {counted(len(given), 'problem')} in {problems}"
        treated = "left out" if drop_templates else "counted"
        missed = found.hit_rate < target
        kept = "not kept" if missed else "kept in the pool"
        kept = "not kept (--no-save)" if no_save else kept
        for label, text in (
            ("gamma", f"{found.gamma:g}, {kept}; until now {guide.gamma:g}"),
            (
                "hit rate",
                f"{found.hit_rate:.3f} of the queries find guidance; target {found.target:g}",
            ),
            ("queries", f"{found.queries:,} {whose}"),
            ("templates", f"the same template with other numbers is {treated}"),
            ("similarity", about_similarity(opened)),
        ):
            console.print(wrapped(f"{label:<{_LABEL}}", text, console))
        console.print(f"{'scorer':<{_LABEL}}{found.fingerprint}")
    if missed:
        console.print(wrapped("note: ", _MISSED, console))
    elif found.gamma == 0.0:
        console.print(wrapped("note: ", _LET_THROUGH, console))
    for error in errors[:20]:
        console.print(Text.assemble(("not read:", "red"), f" {error}"))
    if len(errors) > 20:
        console.print(f"... and {len(errors) - 20} more lines that could not be read")
    if errors:
        raise typer.Exit(1)


_MISSED = (
    "fewer problems than the target find anything at all, whatever gamma is. Fill the pool with "
    "problems that are alike, or try a smaller --target"
)
_LET_THROUGH = (
    "a gamma of 0 lets everything through: what is found has nothing in common with the problems; "
    "try a smaller --target"
)


def _print_curve(console: Console, found: Calibration) -> None:
    room = max(10, min(50, console.width - 30))
    console.print("gamma   hit rate")
    rows = [(gamma, rate, "") for gamma, rate in found.curve if gamma != found.gamma]
    rows.append((found.gamma, found.hit_rate, "  <- chosen"))
    for gamma, rate, mark in sorted(rows):
        digits = 4 if mark else 2
        bar = "#" * round(rate * room)
        console.print(f"{gamma:<6.{digits}f}  {rate:.3f}  {bar}{mark}")
    console.print()
