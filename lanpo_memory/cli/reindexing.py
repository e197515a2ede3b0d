"""`lanpo pool reindex`: another embedder for a pool."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from lanpo_memory.cli.common import NamespaceOption, PoolOption, command, look_into
from lanpo_memory.cli.embedding import Bf16Option, embed_all, load_embedder
from lanpo_memory.cli.models import INTERRUPTED
from lanpo_memory.cli.terminal import report, to_screen
from lanpo_memory.embedders import CachedEmbedder
from lanpo_memory.protocols import Embedder, ExperienceStore
from lanpo_memory.reindex import recorded_embedder
from lanpo_memory.stores import shown

__all__ = ["reindex"]


@command()
def reindex(
    embedder: Annotated[
        str,
        typer.Option(
            "--embedder",
            metavar="MODEL",
            help="A sentence-transformers model: a folder, or a name on the hub.",
        ),
    ],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    bf16: Bf16Option = False,
    chunk: Annotated[
        int, typer.Option(min=1, metavar="N", help="Problems embedded and stored at once.")
    ] = 256,
) -> None:
    """Embed every problem of a pool, and make this the embedder that the pool belongs to.

    Ctrl-C loses one chunk at most: the same command goes on where it was stopped. Until the last
    chunk is there, the pool belongs to its old embedder. Vectors of the old one are kept, so that
    the way back costs nothing.

    Example: lanpo pool reindex --embedder all-MiniLM-L6-v2 --pool pool.db
    """
    with look_into(pool, namespace) as opened:
        before = recorded_embedder(opened.store)
        encoder = load_embedder(embedder, bf16=bf16)
        try:
            embedded, total = embed_all(opened.store, encoder, chunk=chunk)
        except KeyboardInterrupt:
            again = f"--pool {shlex.quote(shown(pool))} --namespace {shlex.quote(namespace)}"
            options = f"{again}{' --bf16' if bf16 else ''} --chunk {chunk}"
            done, of = _embedded(opened.store, encoder)
            report().print(
                f"stopped: {done:,} of {of:,} problems are embedded and stay so. Go on with: "
                f"lanpo pool reindex --embedder {shlex.quote(embedder)} {options}"
            )
            raise typer.Exit(INTERRUPTED) from None
    console = to_screen()
    console.print(
        f"{embedded:,} problems embedded, {total - embedded:,} were there already: {shown(pool)}"
    )
    if before not in (None, encoder.fingerprint):
        console.print(f"until now of  {before}")
    console.print(f"belongs to    {encoder.fingerprint}")


def _embedded(store: ExperienceStore, embedder: Embedder) -> tuple[int, int]:
    texts = list({problem.text for problem in store.read("problem")})
    return sum(CachedEmbedder(embedder, store, memory=0).has(texts)), len(texts)
