"""Rollouts from a file, summarised into a pool without a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.text import Text

from lanpo_memory.cli.common import look_into, spared
from lanpo_memory.cli.receipts import ReceiptFile, receipt_table
from lanpo_memory.importers import Line, read_rollouts
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.stores import shown
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.types import Batch, Experience, FailedAnswer, Failure, Receipt, Rollout

__all__ = ["CHUNK", "chunks", "import_rollouts", "print_errors"]

Each = TypeVar("Each")

CHUNK = 1_000
"""Items a transaction: few enough for memory, many enough for speed."""


def import_rollouts(
    console: Console, file: Path, layout: str, pool: str, namespace: str, receipts: Path | None
) -> bool:
    """Import a file of rollouts and say what came of it; whether every line could be read."""
    lines = read_rollouts(file, layout)
    if receipts:
        spared(receipts, file)
    started = time.perf_counter()
    with look_into(pool, namespace, create=True) as opened:
        counts, errors, dropped, written = _import(opened, lines, console, receipts)
        seconds = time.perf_counter() - started
        size = len(opened)
    print_errors(console, errors)
    if dropped:
        columns = ", ".join(f"{name} ({n:,})" for name, n in sorted(dropped.items()))
        console.print(f"left out, because they look like reference answers: {columns}")
    console.print(receipt_table(counts, "rollouts"))
    console.print(
        f"{written:,} rollouts in {seconds:.1f} s, one receipt each; "
        f"{len(errors):,} unreadable lines; the pool holds {size:,} experiences: {shown(pool)}"
    )
    return not errors


def print_errors(console: Console, errors: Sequence[str]) -> None:
    """Name the first lines that could not be imported, and count the rest."""
    for error in errors[:20]:
        console.print(Text.assemble(("not imported:", "red"), f" {error}"))
    if len(errors) > 20:
        console.print(f"... and {len(errors) - 20} more lines that could not be read")


def _import(
    pool: ExperiencePool, lines: Iterator[Line], console: Console, receipts: Path | None
) -> tuple[Counter[tuple[str, str]], list[str], Counter[str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    errors: list[str] = []
    dropped: Counter[str] = Counter()
    written = 0
    with ReceiptFile(receipts) as out:
        bar = track(chunks(lines), description="importing", console=console, transient=True)
        for chunk in bar:
            errors += [line.error for line in chunk if line.error]
            dropped.update(name for line in chunk for name in line.dropped)
            rollouts = [rollout for line in chunk for rollout in line.rollouts]
            given = _write(pool, rollouts)
            counts.update((r.status, r.reason) for r in given)
            written += len(given)
            for rollout, receipt in zip(rollouts, given, strict=True):
                out.write({"problem_id": rollout.problem.id, **receipt.model_dump()})
    return counts, errors, dropped, written


def chunks(items: Iterable[Each]) -> Iterator[list[Each]]:
    """Yield the items in lists of `CHUNK`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _write(pool: ExperiencePool, rollouts: Sequence[Rollout]) -> list[Receipt]:
    """Summarise and store; one receipt for each rollout, in order."""
    read = ExtractiveSummarizer().read(rollouts, [])
    experiences = [r for r in read if isinstance(r, Experience)]
    failures = [
        FailedAnswer(
            role="import",
            problem_id=rollout.problem.id,
            text=result.text,
            reason=result.reason,
            step=rollout.step,
        )
        for rollout, result in zip(rollouts, read, strict=True)
        if isinstance(result, Failure)
    ]
    stored = iter(pool.write(Batch(experiences=tuple(experiences), failures=tuple(failures))))
    return [
        next(stored)
        if isinstance(result, Experience)
        else Receipt(status="failed", reason=result.reason)
        for result in read
    ]
