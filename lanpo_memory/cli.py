"""The `lanpo pool ...` commands. They need no torch, no key and no network."""

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

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import Line, read_rollouts
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.types import (
    Batch,
    Experience,
    FailedAnswer,
    Failure,
    Problem,
    Receipt,
    Retrieved,
    Rollout,
)

__all__ = ["app"]

app = typer.Typer(
    name="pool",
    help="Look into an experience pool, fill it from files, write it to a file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_SEE_LIST = "see `lanpo pool list`"
_OUTCOMES = {True: "correct", False: "wrong", None: "unjudged"}
_SQLITE = b"SQLite format 3"  # how every pool file begins
_CHUNK = 1_000  # rollouts a transaction: few enough for memory, many enough for speed

PoolOption = Annotated[
    str, typer.Option("--pool", "-p", help="Path or address of the pool.", metavar="PATH_OR_URL")
]
NamespaceOption = Annotated[str, typer.Option(help="Namespace within the pool.")]


def _console() -> Console:
    # What people and models wrote is printed to the letter: no markup, no emoji codes.
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def _spared(target: Path, *others: Path) -> Path:
    """Return a path that may be written: no pool, and none of the other files in use.

    Raises:
        InvalidInputError: writing there would destroy what is in use.
    """
    try:
        if target.is_file():
            with target.open("rb") as file:
                is_pool = file.read(len(_SQLITE)) == _SQLITE
            if is_pool or any(target.samefile(other) for other in others):
                raise InvalidInputError(f"{target} would be overwritten; write to another file")
    except OSError as error:
        raise InvalidInputError(f"cannot write {target}: {error.strerror}") from error
    return target


# ---------------------------------------------------------------------- import


@app.command("import")
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
    console = _console()
    lines = read_rollouts(file, format)
    if receipts:
        _spared(receipts, file)
    started = time.perf_counter()
    with open_pool(pool, namespace=namespace) as opened:
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
            role="summarise",
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


# ---------------------------------------------------------------------- looking


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="The problem you have.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    k: Annotated[int, typer.Option("-k", min=1, help="How many experiences.")] = 4,
    per_problem: Annotated[
        int, typer.Option(min=1, help="How many of one problem, newest first.")
    ] = 2,
) -> None:
    """Show the experiences of the most similar problems.

    Example: lanpo pool search "How many eggs are left?" --pool pool.db
    """
    console = _console()
    problem = Problem(text=query)
    with open_pool(pool, namespace=namespace, create=False) as opened:
        size = len(opened)
        started = time.perf_counter()
        found = opened.retrieve([problem], k=k, width=k, newest=per_problem)[0]
        milliseconds = 1000 * (time.perf_counter() - started)
    for rank, hit in enumerate(found, start=1):
        _print_experience(console, hit.experience, f"{rank}.", hit)
    if not found:
        console.print("nothing in the pool shares a word with this problem")
    console.print(f"{len(found)} of {size:,} experiences in {milliseconds:.1f} ms")


def _print_experience(
    console: Console, experience: Experience, head: str, hit: Retrieved | None = None
) -> None:
    meta = experience.metadata
    outcome = _OUTCOMES[meta.correct]
    similarity = f"similarity {hit.similarity:.2f}  utility {hit.utility:.2f}  " if hit else ""
    facts = f" {similarity}{outcome}  step {meta.step}  {experience.id}"
    console.print(Text.assemble((head, "bold"), facts))
    console.print(f"   problem: {experience.problem.text}")
    if experience.thoughts:
        console.print(f"   thoughts: {experience.thoughts}")
    for name, items in (("principle", experience.principles), ("pitfall", experience.pitfalls)):
        for item in items:
            console.print(f"   {name}: {item}")


@app.command("list")
def list_(
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
) -> None:
    """List the newest experiences, one a line.

    Example: lanpo pool list --pool pool.db --limit 5
    """
    with open_pool(pool, namespace=namespace, create=False) as opened:
        experiences = opened.store.read("experience")[-limit:][::-1]
        size = len(opened)
    console = _console()
    room = max(20, (console.width - 32) // 2)
    console.print(f"{'id':<10}  {'step':>5}  {'outcome':<8}  {'problem':<{room}}  lesson")
    for e in experiences:
        lesson = next(iter((*e.principles, *e.pitfalls, e.thoughts)), "")
        meta, cells = e.metadata, (_cut(e.problem.text, room), _cut(lesson, room))
        head = f"{e.id[:10]}  {meta.step:>5}  {_OUTCOMES[meta.correct]:<8}"
        console.print(f"{head}  {cells[0]:<{room}}  {cells[1]}")
    console.print(f"{len(experiences)} of {size:,} experiences")


def _cut(text: str, room: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= room else line[: room - 1] + "…"


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="The experience's id, or the start of it.")],  # noqa: A002
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
) -> None:
    """Show one experience whole, as JSON.

    Example: lanpo pool show 2e9576e03876dfd95ad5 --pool pool.db
    """
    with open_pool(pool, namespace=namespace, create=False) as opened:
        experience = _find(opened, id)
    typer.echo(json.dumps(_as_json(experience), indent=2, ensure_ascii=False))


def _as_json(experience: Experience) -> dict[str, Any]:
    ids = {"id": experience.id, "lesson_id": experience.lesson_id}
    return {**ids, **experience.model_dump(mode="json")}


def _find(pool: ExperiencePool, start: str) -> Experience:
    if not start.strip():
        raise InvalidInputError(f"the id is empty; {_SEE_LIST}")
    exact = pool.get([start])[0]
    if exact is not None:
        return exact
    found = [e for e in pool.store.read("experience") if e.id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InvalidInputError(f"no experience has an id that starts with {start!r}; {_SEE_LIST}")
    raise InvalidInputError(
        f"{len(found)} experiences have an id that starts with {start!r}; give more of it"
    )


@app.command()
def stats(pool: PoolOption = "pool.db", namespace: NamespaceOption = "default") -> None:
    """Count what a pool holds, and print its digest.

    Example: lanpo pool stats --pool pool.db
    """
    with open_pool(pool, namespace=namespace, create=False) as opened:
        figures = {**opened.stats(), "digest": opened.digest()}
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) else _flat(value)
        _console().print(f"{name:<12} {shown}")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {n:,}" for key, n in sorted(value.items())) or "none"
    if isinstance(value, list):
        return " to ".join(map(str, value)) or "none"
    return str(value)


# ---------------------------------------------------------------------- moving and removing


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
) -> None:
    """Write everything a pool holds to one JSON Lines file, whole or not at all.

    Example: lanpo pool export pool.jsonl --pool pool.db
    """
    with open_pool(pool, namespace=namespace, create=False) as opened:
        opened.snapshot(_spared(file))
        console = _console()
        console.print(f"wrote {len(opened):,} experiences to {file}, digest {opened.digest()}")


@app.command()
def rm(
    ids: Annotated[list[str], typer.Argument(help="Ids of experiences, or the starts of them.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
) -> None:
    """Delete experiences. If one of the ids is unknown, nothing is deleted.

    Example: lanpo pool rm 2e9576e03876dfd95ad5 --pool pool.db
    """
    with open_pool(pool, namespace=namespace, create=False) as opened:
        found = {_find(opened, each).id for each in ids}
        opened.delete(sorted(found))
        console = _console()
        console.print(f"deleted {len(found):,}; the pool holds {len(opened):,} experiences")
