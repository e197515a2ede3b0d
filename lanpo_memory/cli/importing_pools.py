"""Into a pool: the pools of other memories, item by item, and exports of this one."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from lanpo_memory.cli.common import look_into, spared
from lanpo_memory.cli.importing_rollouts import chunks, print_errors
from lanpo_memory.cli.receipts import ReceiptFile, receipt_table
from lanpo_memory.cli.terminal import counted, defused, progress, waiting
from lanpo_memory.comparison import KINDS
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import Entry, read_experiences
from lanpo_memory.merging import merge
from lanpo_memory.parquet import read_folder
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.reindex import recorded_embedder
from lanpo_memory.snapshots import read_header, read_snapshot
from lanpo_memory.stores import shown
from lanpo_memory.types import Batch, Limits, Promise, Receipt

__all__ = ["import_export", "import_items"]


@dataclass
class _Tally:
    """What came of the items of a file."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def note(self, entry: Entry, receipt: Receipt) -> None:
        reason = "it could not be read" if entry.status == "failed" else receipt.reason
        reason = "refused for what it says" if entry.status == "rejected" else reason
        self.counts[receipt.status, reason] += 1
        self.dropped.update(map(defused, entry.dropped))
        self.left_out.update(map(defused, entry.left_out))
        if entry.error:
            self.errors.append(defused(entry.error))


def import_items(
    console: Console, file: Path, layout: str, pool: str, namespace: str, receipts: Path | None
) -> bool:
    """Import another memory's pool and say what came of it; whether every item was of use."""
    entries = read_experiences(file, layout)
    if receipts:
        spared(receipts, file)
    first = next(entries, None)
    if first is None:  # and no pool is made for it
        raise InvalidInputError(f"{file} holds nothing that the format {layout!r} reads")
    entries = chain([first], entries)
    tally, started = _Tally(), time.perf_counter()
    limits = Limits(per_step=None)  # years of another memory are one step here
    with look_into(pool, namespace, create=True, limits=limits) as opened:
        with ReceiptFile(receipts) as out, progress() as bar:
            task = bar.add_task("importing", total=None)
            for chunk in chunks(entries):
                for entry, receipt in zip(chunk, _write(opened, chunk), strict=True):
                    tally.note(entry, receipt)
                    out.write(_row(entry, receipt))
                bar.advance(task, len(chunk))
        seconds, size = time.perf_counter() - started, len(opened)
    _print_tally(console, tally)
    n = tally.counts.total()
    console.print(
        f"{counted(n, 'item')} in {seconds:.1f} s, one receipt each; "
        f"the pool holds {size:,} experiences: {shown(pool)}"
    )
    return not tally.errors


def _write(pool: ExperiencePool, chunk: list[Entry]) -> list[Receipt]:
    """Store what can be stored; one receipt for each entry, in order."""
    found = tuple(e.experience for e in chunk if e.experience is not None)
    stored = iter(pool.write(Batch(experiences=found)) if found else [])
    return [
        Receipt(status=e.status, reason=e.error) if e.status is not None else next(stored)
        for e in chunk
    ]


def _row(entry: Entry, receipt: Receipt) -> dict[str, Any]:
    problem_id = "" if entry.experience is None else entry.experience.problem.id
    row = {"line": entry.line, "problem_id": problem_id, **receipt.model_dump()}
    lost = {"dropped": list(entry.dropped), "left_out": list(entry.left_out)}
    return {**row, **{name: fields for name, fields in lost.items() if fields}}


def _print_tally(console: Console, tally: _Tally) -> None:
    print_errors(console, tally.errors)
    for why, fields in (
        ("because they look like reference answers", tally.dropped),
        ("because they are vectors or too long", tally.left_out),
    ):
        if fields:
            names = ", ".join(f"{name} ({n:,})" for name, n in sorted(fields.items()))
            console.print(f"left out, {why}: {names}")
    console.print(receipt_table(tally.counts, "items"))


def import_export(
    console: Console, source: Path, pool: str, namespace: str, receipts: Path | None
) -> None:
    """Import what `lanpo pool export` wrote, a file or a folder, and say what came of it."""
    if receipts:
        spared(receipts, source, *(source.iterdir() if source.is_dir() else ()))
    started = time.perf_counter()
    with waiting("reading"):
        header, batch = _read(source)  # what cannot be read makes no pool
    with look_into(pool, namespace, create=True) as opened:
        with ReceiptFile(receipts) as out, waiting("importing"):
            given = merge(opened, batch)
            for row in _rows(batch, given):
                out.write(row)
        note = _about_embedder(opened, header.get("embedder"))
        size, digest = len(opened), opened.digest()
    counts = Counter[tuple[str, str]]((receipt.status, receipt.reason) for receipt in given)
    console.print(receipt_table(counts, "records"))
    if note:
        console.print(note)
    seconds = time.perf_counter() - started
    console.print(
        f"{counted(len(given), 'record')} in {seconds:.1f} s, one receipt each; "
        f"the pool holds {size:,} experiences: {shown(pool)}, digest {digest}"
    )


def _read(source: Path) -> tuple[dict[str, Any], Batch]:
    if source.is_dir():
        return read_folder(source)
    batch = read_snapshot(source)
    return read_header(source) or {}, batch


def _rows(batch: Batch, given: list[Receipt]) -> list[dict[str, Any]]:
    kinds = [kind for kind in KINDS for _ in getattr(batch, f"{kind}s")]
    return [
        {"kind": kind, **receipt.model_dump()} for kind, receipt in zip(kinds, given, strict=True)
    ]


def _about_embedder(pool: ExperiencePool, embedder: Any) -> str:
    """One line about vectors, where those of the export were made by another embedder."""
    if not isinstance(embedder, str) or Promise.CACHE not in pool.store.promises:
        return ""
    own = recorded_embedder(pool.store)
    if own == embedder:
        return ""
    here = "this pool belongs to none yet" if own is None else f"this pool belongs to {own!r}"
    return (
        f"note: the exported pool belongs to the embedder {embedder!r}, {here}. Vectors are no "
        "part of an export: `lanpo pool reindex` makes them"
    )
