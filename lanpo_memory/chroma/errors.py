"""Chroma's errors in this library's own words."""

from __future__ import annotations

from lanpo_memory.errors import (
    EmbedderMismatchError,
    PoolClosedError,
    PoolConnectionError,
    PoolError,
    PoolFullError,
    PoolNotFoundError,
    PoolWriteError,
)

__all__ = ["is_lost", "may_be_back", "translated"]


def is_lost(error: BaseException | None) -> bool:
    """Whether the server was not reached, or went away before it answered."""
    import httpx  # comes with chromadb

    if isinstance(error, httpx.TransportError):
        return True
    # A client that finds no server while it is made says so in a ValueError.
    return isinstance(error, ValueError) and is_lost(error.__cause__ or error.__context__)


def may_be_back(error: BaseException | None) -> bool:
    """Whether asking again may help: not where a server took the question and never answered."""
    import httpx

    return is_lost(error) and not isinstance(error, httpx.ReadTimeout)


def translated(error: Exception, place: str) -> PoolError:
    """The typed error, with its remedy, for an error of Chroma's at `place`."""
    import chromadb.errors

    text = str(error) or type(error).__name__
    if is_lost(error):
        return PoolConnectionError(
            f"the Chroma server at {place} cannot be reached ({text}). Start it with "
            "`chroma run --path FOLDER`, or correct the address; nothing is half written"
        )
    if isinstance(error, chromadb.errors.NotFoundError):
        return PoolNotFoundError(
            f"{place} does not have this collection (any more): {text}. Open the pool again"
        )
    if "Payload too large" in text:
        return PoolWriteError(
            f"{place} refuses a record of this size ({text}); shorten it, or raise the server's "
            "max_payload_size_bytes. Nothing was written"
        )
    if "dimension" in text.lower():
        return EmbedderMismatchError(
            f"{place} holds vectors of another length: {text}. Use the embedder they were made "
            "with, or another collection"
        )
    if "disk is full" in text or "No space left" in text:
        return PoolFullError(f"the disk that holds {place} is full; nothing was written")
    if "closed" in text.lower() and "client" in text.lower():
        return PoolClosedError("the pool is closed; open it again with open_pool")
    return PoolWriteError(f"{place}: {text}; nothing is half written")
