"""`lanpo pool import`: rollouts, the pools of other memories, and exports of this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanpo_memory.cli.common import NamespaceOption, PoolOption, command
from lanpo_memory.cli.importing_pools import import_export, import_items
from lanpo_memory.cli.importing_rollouts import import_rollouts
from lanpo_memory.cli.receipts import ReceiptsOption
from lanpo_memory.cli.terminal import to_screen
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import FORMATS, POOL_FORMATS
from lanpo_memory.snapshots import holds_pool, read_header

__all__ = ["import_"]

_EXPORT = "lanpo"


@command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="JSON Lines of rollouts, another memory's pool, or an export.")
    ],
    format: Annotated[  # noqa: A002 - the word that users look for
        str | None,
        typer.Option(
            metavar="NAME",
            help="rollouts: problem, completion, reward. gsm8k-rollouts: see the docs. Pools of "
            "other memories: reme, mem0, ace, reasoningbank. Exports (lanpo) are recognised; all "
            "else counts as rollouts.",
        ),
    ] = None,
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    receipts: ReceiptsOption = None,
) -> None:
    """Summarise a file of rollouts into a pool, without a model; or take in another pool.

    Sentences of rollouts are copied and their numbers masked: good enough to look at, no
    abstraction. What cannot be read is named; the rest is imported, and the exit code is 1.

    An export comes back as it was, into a pool that is empty; one that holds anything keeps what it
    has. `lanpo pool restore` replaces it instead.

    Example: lanpo pool import rollouts.jsonl --pool pool.db
    """
    if file.is_file() and holds_pool(file):
        raise InvalidInputError(
            f"{file} is a pool: `lanpo pool copy` moves it, and what `lanpo pool export` writes "
            "can be imported into another one"
        )
    layout = _recognised(file) if format is None else format
    console = to_screen()
    if layout == _EXPORT:
        import_export(console, file, pool, namespace, receipts)
    elif layout in POOL_FORMATS:
        if not import_items(console, file, layout, pool, namespace, receipts):
            raise typer.Exit(1)
    elif layout in FORMATS:
        if not import_rollouts(console, file, layout, pool, namespace, receipts):
            raise typer.Exit(1)
    else:
        known = ", ".join([*sorted(FORMATS), *sorted([*POOL_FORMATS, _EXPORT])])
        raise InvalidInputError(f"unknown format {format!r}; known formats: {known}")


def _recognised(file: Path) -> str:
    try:
        # A pipe is not looked into: what is read of it is gone.
        if file.is_dir() or (file.is_file() and read_header(file) is not None):
            return _EXPORT
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error.strerror or error}") from error
    return "rollouts"
