"""How a job's process begins: from nothing, or as a copy of one that has the imports done."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext

from lanpo_rl.study.jobs import Job

__all__ = ["ONE_CORE", "context_of"]

ONE_CORE = {"OMP_NUM_THREADS": "1"}
"""Environment of a job's process; read when torch is imported."""
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def context_of(job: Job, jobs: Collection[Job]) -> BaseContext:
    """Return what begins a job's process.

    torch, transformers and TRL take seconds to import, as long as a tenth of a short run. On Linux
    a server imports once what jobs name, and their processes are copies of it. It sees no GPU, for
    a GPU in use does not survive the copying. Other jobs and other systems: a new Python each.

    Args:
        job: the one that begins.
        jobs: all of them; the server that the first one starts is there for every other.
    """
    if not job.imports or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted({name for other in jobs for name in other.imports}))
    with _environment({**ONE_CORE, **_NO_GPU}):
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
