"""The `lanpo pool ...` commands. Without `--embedder` they need no torch, no key and no network."""

# In the order in which `lanpo pool --help` lists the commands.
from lanpo_memory.cli import (  # noqa: I001
    importing as importing,
    looking as looking,
    why as why,
    lessons as lessons,
    calibrating as calibrating,
    reindexing as reindexing,
    moving as moving,
    differing as differing,
)
from lanpo_memory.cli.common import app

__all__ = ["app"]
