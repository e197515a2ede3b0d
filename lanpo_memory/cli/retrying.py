"""`lanpo pool retry`: answers that could not be read, read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lanpo_memory.cli.common import NamespaceOption, PoolOption, command, look_into
from lanpo_memory.cli.models import (
    INTERRUPTED,
    ApiBaseOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    check_answering,
    ledger_of,
    load_model,
    print_ledger,
)
from lanpo_memory.cli.terminal import counted, cut, progress, report, to_screen
from lanpo_memory.dead_letters import read_again
from lanpo_memory.dead_letters import retry as retry_answers
from lanpo_memory.errors import BudgetExceeded, ConfigError, LanpoError, NoAnswerError
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.stores import shown
from lanpo_memory.types import Experience, Failure, Receipt

__all__ = ["retry"]

_READABLE = ("readable", "")
_REASON_CELLS = 100


@command()
def retry(
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Ask this model again for what cannot be read: a folder with a Hugging Face "
            "model, or a litellm name, whose key is read from the environment. Without: nobody "
            "is asked.",
        ),
    ] = None,
    api_base: ApiBaseOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look: change nothing, ask nobody.")
    ] = False,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Read the failed answers of a pool again, and make experiences of them.

    Today's parser may read what an older one could not. With --model, summaries that still cannot
    be read are asked for again, if it is known how they were asked for: first those that never got
    an answer (a time-out, the end of a budget), then the others, the oldest of each first. Reading
    costs nothing; the budgets bound what asking costs. What is read leaves the failed answers in
    the same transaction; the others stay. The exit code is 1 if any are left.

    Example: lanpo pool retry --pool pool.db --model openai/gpt-4o-mini --max-calls 100
    """
    ledger = ledger_of(
        model,
        api_base=api_base,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
    )
    if model is not None and dry_run:
        raise ConfigError("--dry-run asks nobody: leave out --model, or --dry-run")
    console = to_screen()
    with look_into(pool, namespace) as opened:
        if dry_run:
            counts = _looked_at(opened)
            settled = sum(n for (status, _), n in counts.items() if status != "failed")
            left = opened.store.count("failure") - settled
        else:
            counts = _retried(opened, model, api_base, ledger, console)
            left = opened.store.count("failure")
        size = len(opened)
    _print(console, counts)
    if not dry_run:
        print_ledger(console, ledger)
    would = "would be" if dry_run else "are"
    console.print(
        f"{counted(left, 'failed answer')} {would} left, {size:,} experiences: {shown(pool)}"
    )
    if left:
        raise typer.Exit(1)


Counts = Counter[tuple[str, str]]


def _looked_at(pool: ExperiencePool) -> Counts:
    """What today's parser makes of the answers."""
    counts: Counts = Counter()
    with progress() as bar:
        task = bar.add_task("reading", total=pool.store.count("failure"))
        for _, found in read_again(pool, prompts=EnglishPrompts()):
            counts[_outcome(found)] += 1
            bar.advance(task)
    return counts


def _outcome(found: Experience | Failure) -> tuple[str, str]:
    return _READABLE if isinstance(found, Experience) else (found.status, found.reason)


def _retried(
    pool: ExperiencePool,
    model: str | None,
    api_base: str | None,
    ledger: Ledger,
    console: Console,
) -> Counts:
    """Read again; where it is stopped, say first what was done until then."""
    counts: Counts = Counter()
    asked = None if model is None else load_model(model, ledger, api_base=api_base)
    with progress() as bar:
        task = bar.add_task("retrying", total=pool.store.count("failure"))

        def note(receipts: Sequence[Receipt]) -> None:
            counts.update((receipt.status, receipt.reason) for receipt in receipts)
            bar.advance(task, len(receipts))
            check_answering(ledger)

        try:
            retry_answers(pool, prompts=EnglishPrompts(), model=asked, progress=note)
        except (BudgetExceeded, NoAnswerError, KeyboardInterrupt) as stopped:
            bar.stop()
            _print(console, counts)
            print_ledger(console, ledger)
            if isinstance(stopped, LanpoError):
                raise
            report().print("stopped: what was read is stored; the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
    return counts


def _print(console: Console, counts: Counts) -> None:
    if not counts:
        console.print("no failed answer was looked at")
        return
    table = Table(title="receipts", title_justify="left")
    for name in ("status", "answers", "reason"):
        table.add_column(name, justify="right" if name == "answers" else "left")
    for (status, reason), n in sorted(counts.items()):
        table.add_row(status, f"{n:,}", cut(reason, _REASON_CELLS))
    console.print(table)
