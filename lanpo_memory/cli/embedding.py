"""Opening a pool with a sentence encoder: slow things with a bar, and no surprise at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from lanpo_memory.cli.common import look_into
from lanpo_memory.cli.terminal import progress, report, waiting, wrapped
from lanpo_memory.embedders import SentenceTransformerEmbedder
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.protocols import Embedder, ExperienceStore
from lanpo_memory.reindex import claim, recorded_embedder, reindex
from lanpo_memory.stores import shown

__all__ = [
    "Bf16Option",
    "EmbedderOption",
    "about_similarity",
    "embed_all",
    "load_embedder",
    "searchable",
]

EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="MODEL",
        help="Similarity by meaning: a sentence-transformers model, a folder or a name on the "
        "hub. Without: by shared words.",
    ),
]
Bf16Option = Annotated[
    bool, typer.Option("--bf16", help="Embed in bfloat16: other vectors than in float32.")
]


def load_embedder(model: str, *, bf16: bool = False) -> Embedder:
    """Load a sentence encoder without its loading bars.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model is not there or cannot be loaded.
    """
    with waiting(f"loading {model}"), _quiet():
        return SentenceTransformerEmbedder(model, bf16=bf16)


@contextmanager
def _quiet() -> Iterator[None]:
    try:
        from transformers.utils import logging
    except ImportError:  # the embedder says it better
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def embed_all(store: ExperienceStore, embedder: Embedder, *, chunk: int = 256) -> tuple[int, int]:
    """Embed what a pool has not embedded yet and bind it; return how many, and of how many."""
    total = 0
    with progress() as bar:
        task = bar.add_task("embedding", total=None)

        def follow(done: int, of: int) -> None:
            nonlocal total
            total = of
            bar.update(task, completed=done, total=of)

        embedded = reindex(store, embedder, chunk=chunk, progress=follow)
    return embedded, total


@contextmanager
def searchable(
    pool: str, namespace: str, model: str | None, *, bf16: bool
) -> Iterator[ExperiencePool]:
    """Open a pool for search, with an embedder if one is named.

    Raises:
        InvalidInputError: the pool is empty.
        EmbedderMismatchError: the pool belongs to another embedder.
        ConfigError: `bf16` without a model.
    """
    if bf16 and model is None:
        raise ConfigError("--bf16 says how to embed; it needs --embedder MODEL")
    embedder = None
    with look_into(pool, namespace) as bare:
        if not len(bare):
            raise InvalidInputError(
                f"{shown(pool)} holds no experiences in namespace {namespace!r}; fill it first, "
                "with `lanpo pool import` or by training"
            )
        if model is not None:
            embedder = load_embedder(model, bf16=bf16)
            _fill(bare.store, embedder)
    with open_pool(pool, namespace=namespace, create=False, embedder=embedder) as opened:
        yield opened


def _fill(store: ExperienceStore, embedder: Embedder) -> None:
    """Embed what is missing, with a bar; opening the pool would do it in silence."""
    recorded = recorded_embedder(store)
    if recorded is not None:
        claim(store, embedder.fingerprint)  # refuses another one before anything is embedded
    embedded, total = embed_all(store, embedder)
    if recorded is None:
        console = report()
        said = (
            f"{embedded:,} of {total:,} problems had to be embedded, and the pool belongs to this "
            "embedder now; `lanpo pool reindex` moves it to another one"
        )
        console.print(wrapped("note: ", said, console))


def about_similarity(pool: ExperiencePool) -> str:
    """Say what similarity means here."""
    if pool.embedder is not None:
        return "by meaning: the cosine of embeddings"
    said = "lexical, because no --embedder was given: shared words count, not meaning"
    recorded = recorded_embedder(pool.store)
    if recorded is None:
        return said
    return (
        f"{said}. The pool belongs to an embedder; name it with --embedder to see what a run with "
        f"it sees: {recorded}"
    )
