"""SQLite's error codes in this library's own words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from lanpo_memory.errors import (
    PoolBusyError,
    PoolClosedError,
    PoolDamagedError,
    PoolError,
    PoolFormatError,
    PoolFullError,
    PoolReadOnlyError,
    PoolWriteError,
)

__all__ = ["translated"]

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DENIED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def translated(error: sqlite3.Error, path: Path, timeout_s: float) -> PoolError:
    """The typed error, with its remedy, for an error of SQLite's at `path`."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BUSY:
        return PoolBusyError(
            f"another process has been writing to {path} for {timeout_s:g} s; nothing was written, "
            "try again"
        )
    if code == sqlite3.SQLITE_FULL:
        return PoolFullError(
            f"the disk that holds {path} is full; nothing of this batch was written, all before it "
            "is there. Make space and add the batch again."
        )
    if code == sqlite3.SQLITE_NOTADB:
        return PoolFormatError(
            f"{path} is not a pool (it is no SQLite file). Give another path; to load rollouts "
            "from a file use `lanpo pool import`."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return PoolDamagedError(
            f"{path} is damaged ({error}). Put a copy of it aside, then restore a snapshot into a "
            "new file; what can still be read comes out with `sqlite3 FILE .recover`."
        )
    if "user-defined function" in str(error):
        return PoolDamagedError(f"{path} holds records that cannot be read; nothing was changed")
    if code in _DENIED and not _writable(path):
        return PoolReadOnlyError(
            f"{path} or its folder may not be written ({error}). A pool needs both, for reading "
            "too: copy the file to a folder of yours."
        )
    if "closed database" in str(error):
        return PoolClosedError("the pool is closed; open it again with open_pool")
    return PoolWriteError(f"{path}: {error}; nothing was written")


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
