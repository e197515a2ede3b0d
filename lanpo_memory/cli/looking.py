"""`lanpo pool search`, `list`, `show` and `stats`: what is in a pool."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from lanpo_memory.cli.common import (
    OUTCOMES,
    NamespaceOption,
    PoolOption,
    command,
    first_words,
    found_by_id,
    look_into,
)
from lanpo_memory.cli.embedding import Bf16Option, EmbedderOption, searchable
from lanpo_memory.cli.terminal import cut, defused, to_screen
from lanpo_memory.types import Experience, Problem, Retrieved

__all__ = ["list_", "search", "show", "stats"]


@command()
def search(
    query: Annotated[str, typer.Argument(help="The problem you have.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    k: Annotated[int, typer.Option("-k", min=1, help="How many experiences.")] = 4,
    per_problem: Annotated[
        int, typer.Option(min=1, help="How many of one problem, newest first.")
    ] = 2,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
) -> None:
    """Show the experiences of the most similar problems.

    Example: lanpo pool search "How many eggs are left?" --pool pool.db
    """
    console = to_screen()
    problem = Problem(text=query)
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
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
    outcome = OUTCOMES[meta.correct]
    similarity = f"similarity {hit.similarity:.2f}  utility {hit.utility:.2f}  " if hit else ""
    facts = f" {similarity}{outcome}  step {meta.step}  {experience.id}"
    console.print(Text.assemble((head, "bold"), facts))
    console.print(f"   problem: {defused(experience.problem.text)}")
    if experience.thoughts:
        console.print(f"   thoughts: {defused(experience.thoughts)}")
    for name, items in (("principle", experience.principles), ("pitfall", experience.pitfalls)):
        for item in items:
            console.print(f"   {name}: {defused(item)}")


@command("list")
def list_(
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
) -> None:
    """List the newest experiences, one a line.

    Example: lanpo pool list --pool pool.db --limit 5
    """
    with look_into(pool, namespace) as opened:
        experiences = list(islice(opened.store.scan("experience", newest_first=True), limit))
        size = len(opened)
    console = to_screen()
    room = max(20, (console.width - 32) // 2)
    console.print(f"{'id':<10}  {'step':>5}  {'outcome':<8}  {'problem':<{room}}  lesson")
    for e in experiences:
        meta, cells = e.metadata, (cut(e.problem.text, room), cut(first_words(e), room))
        head = f"{e.id[:10]}  {meta.step:>5}  {OUTCOMES[meta.correct]:<8}"
        console.print(f"{head}  {cells[0]:<{room}}  {cells[1]}")
    console.print(f"{len(experiences)} of {size:,} experiences")


@command()
def show(
    id: Annotated[str, typer.Argument(help="The experience's id, or the start of it.")],  # noqa: A002
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
) -> None:
    """Show one experience whole, as JSON.

    Example: lanpo pool show 2e9576e03876dfd95ad5 --pool pool.db
    """
    with look_into(pool, namespace) as opened:
        experience = found_by_id(opened, id)
    typer.echo(json.dumps(_as_json(experience), indent=2, ensure_ascii=False))


def _as_json(experience: Experience) -> dict[str, Any]:
    ids = {"id": experience.id, "lesson_id": experience.lesson_id}
    return {**ids, **experience.model_dump(mode="json")}


@command()
def stats(pool: PoolOption = "pool.db", namespace: NamespaceOption = "default") -> None:
    """Count what a pool holds, and print its digest.

    Example: lanpo pool stats --pool pool.db
    """
    with look_into(pool, namespace) as opened:
        figures = {**opened.stats(), "digest": opened.digest()}
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) else _flat(value)
        to_screen().print(f"{name:<12} {shown}")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {n:,}" for key, n in sorted(value.items())) or "none"
    if isinstance(value, list):
        return " to ".join(map(str, value)) or "none"
    return str(value)
