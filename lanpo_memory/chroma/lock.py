"""Who may use a folder of Chroma's: one process at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from lanpo_memory.errors import PoolBusyError, PoolReadOnlyError, PromiseError

__all__ = ["DATABASE", "LOCK_NAME", "FolderLock"]

LOCK_NAME = "lanpo.lock"
DATABASE = "chroma.sqlite3"
"""What Chroma keeps its records in, below a folder."""


class FolderLock:
    """An exclusive lock on a folder, freed by `release` and by the end of the process, any end.

    Chroma does not lock its folder itself: two processes in one silently damage vectors and see
    deleted rows again.

    Raises:
        PoolBusyError: somebody has it, in this process or in another.
        PoolReadOnlyError: the folder may not be written.
        PromiseError: this system has no locks of this kind.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import fcntl
        except ImportError:
            raise PromiseError(
                "a folder of Chroma's is opened on POSIX systems only; elsewhere run "
                f"`chroma run --path {folder}` and open chroma+http://127.0.0.1:8000/lanpo"
            ) from None
        try:
            self._file: TextIO | None = (folder / LOCK_NAME).open("a+", encoding="utf-8")
        except OSError as error:
            raise PoolReadOnlyError(f"{folder} may not be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._busy(folder) from None
        self._pid = os.getpid()
        server = _server_of(folder / DATABASE)
        if server is not None:
            self._close()
            raise PoolBusyError(
                f"process {server} is a Chroma server that has {folder}, and Chroma gets damaged "
                "by two. Open it there, at chroma+http://127.0.0.1:8000/lanpo (or the port it "
                "listens on), or stop the server first"
            )
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def _busy(self, folder: Path) -> PoolBusyError:
        assert self._file is not None
        self._file.seek(0)
        holder = self._file.read().strip() or "unknown"
        self._close()
        who = "this process" if holder == str(os.getpid()) else f"process {holder}"
        return PoolBusyError(
            f"{who} has {folder} open, and Chroma gets damaged by two. Close it there, or let a "
            f"server have the folder: `chroma run --path {folder}`, and open "
            "chroma+http://127.0.0.1:8000/lanpo in every process"
        )

    def release(self) -> None:
        """Let others have the folder. Releasing twice does nothing."""
        if self._file is not None and self._pid == os.getpid():
            import fcntl

            # A process that was forked has the file as well, and the lock would stay with it.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()  # the lock goes with the file; the file stays, unlinking would race
            self._file = None


def _server_of(file: Path) -> int | None:
    """A `chroma run` that has a file open, as far as this system tells: Linux, the same user."""
    try:
        wanted = file.stat()
    except OSError:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            serves = b"run" in words and b"chroma" in {word.rpartition(b"/")[2] for word in words}
            if serves and any(
                os.path.samestat(wanted, opened.stat()) for opened in (process / "fd").iterdir()
            ):
                return int(process.name)
        except OSError:  # it ended, or is somebody else's
            continue
    return None
