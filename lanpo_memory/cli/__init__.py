"""The `lanpo pool ...` commands, `lanpo solve` and `lanpo audit`.

Without `--embedder` and `--model` they need no torch, no key and no network.
"""

# In the order in which `lanpo pool --help` lists the commands.
from lanpo_memory.cli import (  # noqa: I001
    importing as importing,
    retrying as retrying,
    looking as looking,
    why as why,
    lessons as lessons,
    calibrating as calibrating,
    judging as judging,
    reindexing as reindexing,
    moving as moving,
    copying as copying,
    differing as differing,
    solving as solving,
    auditing as auditing,
)
from lanpo_memory.cli.common import app, tools

__all__ = ["app", "tools"]
