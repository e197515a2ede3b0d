"""How a job's process begins: from nothing, or as a copy of one that has the imports done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from lanpo_rl.study.jobs import Job
from lanpo_rl.study.running.child import ONE_CORE, run_work

__all__ = ["NAME", "begin"]

NAME = "lanpo-study-"
"""What the name of a job's process begins with."""
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def begin(
    job: Job, jobs: Collection[Job], work: bytes, folder: Path
) -> tuple[BaseProcess, Connection]:
    """Start a job's process, deaf to Ctrl-C, and return it with the pipe that it tells through.

    Args:
        job: the one that begins.
        jobs: all of them: what they name is imported together.
        work: of the job, pickled.
        folder: of the study.

    Raises:
        OSError, EOFError: there is no memory or no process to be had.
    """
    with _without_interrupts():
        context = _context_of(job, jobs)
        ours, theirs = context.Pipe(duplex=False)
        try:
            process: BaseProcess = context.Process(  # type: ignore[attr-defined]
                target=run_work,
                args=(work, folder, job.key, job.fingerprint, theirs),
                name=f"{NAME}{job.key}",
            )
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # so that the end of its user is noticed here
    return process, ours


def _context_of(job: Job, jobs: Collection[Job]) -> BaseContext:
    """Return what begins a job's process.

    torch, transformers and TRL take seconds to import, as long as a tenth of a short run. On Linux
    a server imports once what jobs name, and their processes are copies of it. It sees no GPU, for
    a GPU in use does not survive the copying. It stays, as Python's one fork server, until this
    process ends. Other jobs and other systems: a new Python each.
    """
    if not job.imports or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({name for other in jobs for name in other.imports}))
    # It looks for modules where this process does, and nowhere else.
    places = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    with _environment({**ONE_CORE, **_NO_GPU, **places}):
        _ensure_server()
    return context


def _ensure_server() -> None:
    from multiprocessing import forkserver  # there is none on Windows

    forkserver.ensure_running()


@contextmanager
def _environment(names: dict[str, str]) -> Iterator[None]:
    """Give a process that begins now other settings than this one has."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes deaf to Ctrl-C: they inherit what is blocked here, and nothing is lost."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
