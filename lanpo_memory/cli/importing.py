"""`lanpo pool import`: rollouts from a file, summarised without a model."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from lanpo_memory.cli.common import NamespaceOption, PoolOption, command, look_into, spared
from lanpo_memory.cli.terminal import to_screen
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import Line, read_rollouts
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.types import Batch, Experience, FailedAnswer, Failure, Receipt, Rollout

__all__ = ["import_"]

_CHUNK = 1_000  # rollouts a transaction: few enough for memory, many enough for speed


@command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines, one rollout (or problem) a line.")],
    format: Annotated[  # noqa: A002 - the word that users look for
        str,
        typer.Option(help="rollouts: problem, completion, reward. gsm8k-rollouts: see the docs."),
    ] = "rollouts",
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    receipts: Annotated[
        Path | None, typer.Option(help="Write every receipt to this file, one JSON object a line.")
    ] = None,
) -> None:
    """Summarise a file of rollouts into a pool, without a model.

    Sentences are copied and their numbers masked: good enough to look at, no abstraction. Lines
    that cannot be read are named; the others are imported, and the exit code is 1.

    Example: lanpo pool import rollouts.jsonl --pool pool.db
    """
    console = to_screen()
    lines = read_rollouts(file, format)
    if receipts:
        spared(receipts, file)
    started = time.perf_counter()
    with look_into(pool, namespace, create=True) as opened:
        counts, errors, dropped, written = _import(opened, lines, console, receipts)
        seconds = time.perf_counter() - started
        size = len(opened)
    for error in errors[:20]:
        console.print(Text.assemble(("not imported:", "red"), f" {error}"))
    if len(errors) > 20:
        console.print(f"... and {len(errors) - 20} more lines that could not be read")
    if dropped:
        columns = ", ".join(f"{name} ({n:,})" for name, n in sorted(dropped.items()))
        console.print(f"left out, because they look like reference answers: {columns}")
    console.print(_receipt_table(counts))
    console.print(
        f"{written:,} rollouts in {seconds:.1f} s, one receipt each; "
        f"{len(errors):,} unreadable lines; the pool holds {size:,} experiences: {pool}"
    )
    if errors:
        raise typer.Exit(1)


def _import(
    pool: ExperiencePool, lines: Iterator[Line], console: Console, receipts: Path | None
) -> tuple[Counter[tuple[str, str]], list[str], Counter[str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    errors: list[str] = []
    dropped: Counter[str] = Counter()
    written = 0
    with _receipt_file(receipts) as out:
        progress = track(_chunks(lines), description="importing", console=console, transient=True)
        for chunk in progress:
            errors += [line.error for line in chunk if line.error]
            dropped.update(name for line in chunk for name in line.dropped)
            rollouts = [rollout for line in chunk for rollout in line.rollouts]
            given = _write(pool, rollouts)
            counts.update((r.status, r.reason) for r in given)
            written += len(given)
            for rollout, receipt in zip(rollouts, given, strict=True):
                out.write({"problem_id": rollout.problem.id, **receipt.model_dump()})
    return counts, errors, dropped, written


class _receipt_file:  # noqa: N801 - used like a function
    """Where receipts go, if anywhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> _receipt_file:
        try:
            self._file = self._path.open("w", encoding="utf-8") if self._path else None
        except OSError as error:
            raise InvalidInputError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    iterator = iter(lines)
    while chunk := list(islice(iterator, _CHUNK)):
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


def _receipt_table(counts: Counter[tuple[str, str]]) -> Table:
    table = Table(title="receipts", title_justify="left")
    for name in ("status", "rollouts", "reason"):
        table.add_column(name, justify="right" if name == "rollouts" else "left")
    for (status, reason), n in sorted(counts.items()):
        table.add_row(status, f"{n:,}", reason)
    return table
