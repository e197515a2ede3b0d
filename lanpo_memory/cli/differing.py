"""`lanpo pool diff`: two pools, two snapshots, or one of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lanpo_memory.cli.common import OUTCOMES, command
from lanpo_memory.cli.terminal import cut, to_screen, waiting, wrapped
from lanpo_memory.comparison import (
    Difference,
    KindDifference,
    SnapshotRecords,
    compare,
    metadata_of,
)
from lanpo_memory.errors import PoolFormatError, PoolNotFoundError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.snapshots import holds_pool, read_header
from lanpo_memory.stores import local_path, open_store, shown
from lanpo_memory.types import Attempt, Experience, Exposure, FailedAnswer

__all__ = ["diff"]

Source = ExperienceStore | SnapshotRecords
Record = Experience | Attempt | Exposure | FailedAnswer
Own = Annotated[str | None, typer.Option(metavar="NAME", help="Namespace of this one, if other.")]


@command()
def diff(
    a: Annotated[str, typer.Argument(help="Path or address of a pool, or a snapshot of one.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Namespace within both; a snapshot has none.")
    ] = "default",
    namespace_a: Own = None,
    namespace_b: Own = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=0, metavar="N", help="How many to show of each kind."),
    ] = 5,
) -> None:
    """Compare two pools, record by record.

    The exit code is 0 if they hold the same in the same order, 1 if not, 2 for trouble. Records are
    the same by what they say: an experience by problem and lesson, and it is changed if step,
    reward, verdict or parents are others. Clock times do not count.

    Example: lanpo pool diff before.jsonl pool.db
    """
    console = to_screen()
    with ExitStack() as stack:
        one, name_a = stack.enter_context(_opened(a, namespace_a or namespace))
        two, name_b = stack.enter_context(_opened(b, namespace_b or namespace))
        with waiting("comparing"):
            found = compare(one, two, examples=limit)
        console.print(f"a  {name_a}\n   digest {found.digest_a}")
        console.print(f"b  {name_b}\n   digest {found.digest_b}")
        _print_counts(console, found)
        for kind in found.kinds:
            _print_examples(console, kind, one, two)
    if found.equal:
        console.print("equal")
        return
    console.print("the same records, in another order" if found.reordered else "different")
    raise typer.Exit(1)


@contextmanager
def _opened(address: str, namespace: str) -> Iterator[tuple[Source, str]]:
    """A pool or a snapshot, as its address or its first bytes say, and its name.

    Raises:
        PoolNotFoundError: there is nothing, or no such namespace in it.
        PoolFormatError: it is neither.
    """
    path = local_path(address)
    if path is not None and not path.is_dir() and _is_snapshot(path):
        yield SnapshotRecords(path), f"{path} (snapshot)"
        return
    with closing(open_store(address, namespace=namespace, create=False)) as store:
        yield store, f"{shown(address)} (namespace {namespace})"


def _is_snapshot(path: Path) -> bool:
    """Whether a file is a snapshot; if not, it is a pool."""
    if not path.exists():
        raise PoolNotFoundError(f"there is no pool and no snapshot at {path}")
    try:
        if holds_pool(path):
            return False
        if read_header(path) is not None:
            return True
    except OSError as error:
        raise PoolFormatError(f"cannot read {path}: {error.strerror}") from error
    raise PoolFormatError(f"{path} is neither a pool nor a snapshot of one")


# ---------------------------------------------------------------------- printing


def _print_counts(console: Console, found: Difference) -> None:
    names = ("in a", "in b", "only in a", "only in b", "changed")
    console.print()
    console.print(f"{'':<10}" + "".join(f"{name:>12}" for name in names))
    for kind in found.kinds:
        counts = (kind.count_a, kind.count_b, kind.only_a, kind.only_b, kind.changed)
        console.print(f"{kind.kind:<10}" + "".join(f"{n:>12,}" for n in counts))
    console.print()


def _print_examples(console: Console, kind: KindDifference, a: Source, b: Source) -> None:
    for title, total, ids, source in (
        ("only in a", kind.only_a, kind.first_only_a, a),
        ("only in b", kind.only_b, kind.first_only_b, b),
    ):
        records = source.read(kind.kind, ids=ids)
        lines = [_described(console, record) for record in records]
        _print_list(console, f"{kind.kind}, {title}", total, lines)
    after = {record.id: record for record in b.read(kind.kind, ids=kind.first_changed)}
    lines = [
        wrapped(f"  {record.id}  ", _changes(record, after[record.id]), console)
        for record in a.read(kind.kind, ids=kind.first_changed)
        if record.id in after  # unless it was deleted meanwhile
    ]
    _print_list(console, f"{kind.kind}, changed from a to b", kind.changed, lines)


def _print_list(console: Console, title: str, total: int, lines: list[str]) -> None:
    if not lines:
        return
    console.print(f"{title}:")
    for line in lines:
        console.print(line)
    if total > len(lines):
        console.print(f"  ... and {total - len(lines):,} more")
    console.print()


def _described(console: Console, record: Record) -> str:
    """One line: the id, the step, and what tells it from others."""
    head = f"  {record.id}  step {_step(record)}  "
    return head + cut(_gist(record), max(20, console.width - len(head)))


def _gist(record: Record) -> str:
    if isinstance(record, Experience):
        return f"{OUTCOMES[record.metadata.correct]}: {record.problem.text}"
    if isinstance(record, Attempt):
        return record.problem.text
    if isinstance(record, Exposure):
        seen = f"{len(record.guided)} guided, {len(record.scratch)} not"
        return f"problem {record.problem_id}: {seen}"
    return f"{record.role}: {record.reason}"


def _step(record: Record) -> int:
    return record.metadata.step if isinstance(record, Experience) else record.step


def _changes(before: Record, after: Record) -> str:
    changed = metadata_of(after)
    parts = [
        f"{name} {_flat(value)} -> {_flat(changed[name])}"
        for name, value in metadata_of(before).items()
        if value != changed[name]
    ]
    return ", ".join(parts)


def _flat(value: Any) -> str:
    return f"[{' '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
