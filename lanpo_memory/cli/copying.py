"""`lanpo pool copy`: from one store to another."""

from __future__ import annotations

import shlex
from contextlib import closing
from typing import Annotated

import typer

from lanpo_memory.cli.common import NamespaceOption, command
from lanpo_memory.cli.models import INTERRUPTED
from lanpo_memory.cli.terminal import counted, progress, report, to_screen
from lanpo_memory.copying import copy_pool
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores import open_store, shown

__all__ = ["copy"]


@command()
def copy(
    source: Annotated[str, typer.Argument(help="Path or address of the pool to copy.")],
    target: Annotated[str, typer.Argument(help="Where to; made if it is not there.")],
    namespace: NamespaceOption = "default",
    to_namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Namespace within the target. Without: the same."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Empty the target first. What it held is gone.")
    ] = False,
    chunk: Annotated[int, typer.Option(min=1, metavar="N", help="Records a transaction.")] = 1_000,
) -> None:
    """Copy a pool to another place or another kind of store, with an equal digest.

    Ctrl-C and kill -9 lose nothing: the same command goes on where it was stopped. A target that
    holds anything else is refused. The vectors of the pool's embedder come along.

    Example: lanpo pool copy pool.db postgresql://me@db/lanpo
    """
    into = namespace if to_namespace is None else to_namespace
    if {"memory:", "memory://"} & {source, target}:
        raise InvalidInputError("a pool in memory ends with this command; name another place")
    with closing(open_store(source, namespace=namespace, create=False)) as one:
        if source == target and namespace == into:  # before it is opened a second time
            raise InvalidInputError("source and target are the same pool; name another target")
        with closing(open_store(target, namespace=into)) as two:
            try:
                _copied(one, two, target, chunk=chunk, restart=restart)
            except KeyboardInterrupt:
                again = shlex.join(["lanpo", "pool", "copy", shown(source), shown(target)])
                spaces = f" --namespace {shlex.quote(namespace)} --to-namespace {shlex.quote(into)}"
                report().print(f"stopped; what is copied stays. Go on with: {again}{spaces}")
                raise typer.Exit(INTERRUPTED) from None


def _copied(
    one: ExperienceStore, two: ExperienceStore, target: str, *, chunk: int, restart: bool
) -> None:
    with progress() as bar:
        task = bar.add_task("copying", total=None)
        done = copy_pool(
            one,
            two,
            chunk=chunk,
            restart=restart,
            progress=lambda n, of: bar.update(task, completed=n, total=of),
        )
    console = to_screen()
    vectors = f", {counted(done.vectors, 'vector')}" if done.vectors else ""
    there = f", {done.there:,} were there already" if done.there else ""
    console.print(f"{counted(done.written, 'record')} copied{there}{vectors}: {shown(target)}")
    console.print(f"digest {done.digest}")
