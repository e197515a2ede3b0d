"""`lanpo audit`: a sample of a pool's entries, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len
from rich.console import Console

from lanpo_memory.audit import Audit, to_markdown
from lanpo_memory.audit import audit as audit_pool
from lanpo_memory.audit.report import NOTES, Section, overview, sections
from lanpo_memory.cli.common import NamespaceOption, command, look_into, tools
from lanpo_memory.cli.models import (
    ApiBaseOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ledger_of,
    load_model,
    print_ledger,
)
from lanpo_memory.cli.terminal import cut, progress, to_screen, wrapped
from lanpo_memory.errors import BudgetExceeded, InvalidInputError
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.stores import shown

__all__ = ["audit"]

_LABEL = 10  # cells
_GAP = 2
_LEAST = 20


@command(of=tools)
def audit(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="Path or address of the pool.")],
    namespace: NamespaceOption = "default",
    sample: Annotated[
        int, typer.Option("--sample", "-n", min=1, metavar="N", help="How many entries.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Another one draws other entries.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write audit.md and audit.json there, too."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Ask this model about each entry: a folder with a Hugging Face model, or a "
            "litellm name, whose key is read from the environment. Without: nobody is asked.",
        ),
    ] = None,
    api_base: ApiBaseOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Draw entries of a pool and measure what they are made of.

    How long they are, how much of them was copied, how many numbers they hold, how often they are
    there, how old they are, and what became of the rollouts that saw them. With --model, also
    whether they are principles that transfer or details of one problem; the exit code is 1 if the
    model says neither for some. Nothing is written to the pool.

    Example: lanpo audit pool.db --sample 200 --out audits/today
    """
    ledger = ledger_of(
        model,
        api_base=api_base,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
    )
    if out is not None:
        _make(out)
    console = to_screen()
    with look_into(pool, namespace) as opened:
        found = _audited(opened, sample, seed, model, ledger, api_base)
    _print(console, found)
    if model is not None:
        print_ledger(console, ledger)
    if out is not None:
        _write(out / "audit.md", to_markdown(found, title=f"Audit of {shown(pool)}"))
        _write(out / "audit.json", found.model_dump_json(indent=2) + "\n")
        console.print(f"written: {out / 'audit.md'}, {out / 'audit.json'}")
    if found.stopped:
        judged = sum(found.verdicts.values())
        raise BudgetExceeded(
            f"{judged:,} of {len(found.entries):,} entries were judged. {found.stopped}"
        )
    if model is not None and found.verdicts.get("failed"):
        raise typer.Exit(1)


def _audited(
    pool: ExperiencePool,
    sample: int,
    seed: int,
    model: str | None,
    ledger: Ledger,
    api_base: str | None,
) -> Audit:
    if model is None:
        return audit_pool(pool, sample=sample, seed=seed)
    asked = load_model(model, ledger, api_base=api_base)
    with progress() as bar:
        task = bar.add_task("asking", total=None)

        def follow(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        return audit_pool(pool, sample=sample, seed=seed, model=asked, progress=follow)


def _print(console: Console, found: Audit) -> None:
    for label, text in overview(found):
        console.print(wrapped(f"{label:<{_LABEL}}", text, console))
    for section in sections(found):
        console.print(f"\n{section.title}")
        for line in _aligned(section, console.width):
            console.print(line)
    console.print()
    for note in NOTES:
        console.print(wrapped("", note, console))


def _aligned(section: Section, width: int) -> list[str]:
    """Columns side by side: figures to the right, a last column of text as far as there is room."""
    rows = [list(row) for row in (section.header, *section.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    if section.ends_in_text:
        widths[-1] = max(_LEAST, width - sum(widths[:-1]) - _GAP * (len(widths) - 1))
        rows = [[*row[:-1], cut(row[-1], widths[-1])] for row in rows]
    texts = {0, len(widths) - 1} if section.ends_in_text else {0}
    return [
        (" " * _GAP)
        .join(
            f"{cell:<{w}}" if i in texts else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make the folder {folder}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
