"""A job's own process: what it sets up, and what it leaves and tells."""

from __future__ import annotations

import errno
import faulthandler
import io
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from lanpo_memory.errors import PoolFullError
from lanpo_rl.study.jobs import Work
from lanpo_rl.study.running.outcomes import folder_of, write_result

__all__ = ["LOG_NAME", "ONE_CORE", "Crash", "Told", "crash_of", "run_work"]

LOG_NAME = "log.txt"
ONE_CORE = {"OMP_NUM_THREADS": "1"}
"""Environment of a job's process; read when torch is imported."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What SQLite, safetensors and torch say, whose errors carry no errno.
_FULL_TEXTS = ("no space left", "disk is full")


@dataclass(frozen=True)
class Told:
    """Progress: share done, 0 to 1, and what is going on."""

    share: float
    text: str


@dataclass(frozen=True)
class Crash:
    """Why there is no result: one line, and the traceback."""

    reason: str
    trace: str


def run_work(work: bytes, root: Path, key: str, fingerprint: str, pipe: Connection) -> None:
    """Do a job, from an empty folder to its result; the entry of the process.

    Args:
        work: the job's work, pickled: what it imports is imported after the set-up here.
        root: folder of the study.
        key: of the job.
        fingerprint: of the job.
        pipe: takes a `Told` for each step and a `Crash` at the end, if it is one.
    """
    started = time.perf_counter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _end_with_parent()
    os.environ.update(ONE_CORE)
    try:
        folder = folder_of(root, key)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _log_to(folder / LOG_NAME)
        do: Work = pickle.loads(work)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        result = do(folder, lambda share, text: pipe.send(Told(share, text)))
        seconds = time.perf_counter() - started
        write_result(folder, key=key, fingerprint=fingerprint, seconds=seconds, result=result)
    except BaseException as error:
        pipe.send(crash_of(error))
        raise


def crash_of(error: BaseException) -> Crash:
    """Say in one line what went wrong; a disk without space is called that, whoever said it."""
    trace = "".join(traceback.format_exception(error))
    if _is_full(error):
        return Crash("no space left on the disk", trace)
    return Crash(traceback.format_exception_only(error)[-1].strip().splitlines()[0], trace)


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, PoolFullError):
            return True
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error).lower() for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with_parent() -> None:
    """End at once when the parent is gone, whatever ended it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_outlive_nobody, args=[parent], daemon=True).start()


def _outlive_nobody(parent: BaseProcess) -> None:
    wait([parent.sentinel])
    os._exit(1)


def _log_to(path: Path) -> None:
    """Send to a file what this process prints, native code included."""
    with path.open("ab") as file:
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            os.dup2(file.fileno(), descriptor)
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)
    faulthandler.enable()
