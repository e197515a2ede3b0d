"""Which job may begin: those it needs are finished, and the budget has room for it."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath
from statistics import median

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.study.jobs import Job
from lanpo_rl.study.running.outcomes import Outcome

__all__ = ["Budget", "check_jobs", "missing_need", "next_job"]

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def check_jobs(jobs: Sequence[Job]) -> None:
    """Refuse jobs that cannot all be run.

    Raises:
        InvalidInputError: a key that is no name for a folder, appears twice or lies inside
            another's folder; a needed job that is not there, or that needs the first in turn.
    """
    keys = {job.key for job in jobs}
    for job in jobs:
        if not _KEY.fullmatch(job.key):
            raise InvalidInputError(
                f"the key {job.key!r} is no name for a folder: use letters, digits, -, _, . and /"
            )
        inside = keys & {str(parent) for parent in PurePosixPath(job.key).parents}
        if inside:
            raise InvalidInputError(f"the key {job.key!r} lies inside {inside.pop()!r}: rename it")
        unknown = [need for need in job.needs if need not in keys]
        if unknown:
            raise InvalidInputError(f"{job.key!r} needs {unknown[0]!r}, which is no job")
    if len(keys) < len(jobs):
        raise InvalidInputError("two jobs have the same key: each needs one of its own")
    try:
        TopologicalSorter({job.key: job.needs for job in jobs}).prepare()
    except CycleError as error:
        raise InvalidInputError(f"jobs need each other: {' > '.join(error.args[1])}") from None


def next_job(waiting: Sequence[Job], finished: Collection[str]) -> Job | None:
    """The first that waits for no other."""
    return next((job for job in waiting if all(need in finished for need in job.needs)), None)


def missing_need(job: Job, outcomes: Mapping[str, Outcome]) -> str | None:
    """Why a job can never begin: one that it needs has ended without a result."""
    for need in job.needs:
        outcome = outcomes.get(need)
        if outcome is not None and outcome.status != "finished":
            became = "crashed" if outcome.status == "crashed" else "was not run"
            return f"needs {need}, which {became}"
    return None


class Budget:
    """Time for beginning jobs; what runs when it is used up is finished all the same.

    Args:
        budget_s: seconds from now on; `None` for any.
        expected_s: what a job takes, as long as none like it has been finished.

    >>> budget = Budget(60.0, expected_s=None)
    >>> def work(folder, tell): ...
    >>> budget.add(Job("a", "a", work), seconds=100.0)
    >>> budget.refusal(Job("b", "b", work))
    'not within the budget: it takes about 100 s, 60 s are left'
    """

    def __init__(self, budget_s: float | None, expected_s: float | None) -> None:
        self._ends = None if budget_s is None else time.monotonic() + budget_s
        self._expected_s = expected_s
        self._seconds: dict[bool, list[float]] = {True: [], False: []}

    def add(self, job: Job, seconds: float) -> None:
        """Learn what a finished job took."""
        self._seconds[job.result].append(seconds)

    def refusal(self, job: Job) -> str | None:
        """Why a job must not begin now; `None` if it may."""
        if self._ends is None:
            return None
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            return "the budget was used up"
        # Preparations such as making a policy take another time than the runs of a study.
        seen = self._seconds[job.result]
        expected_s = median(seen) if seen else self._expected_s
        if expected_s is None or expected_s <= left_s:
            return None
        return f"not within the budget: it takes about {expected_s:.0f} s, {left_s:.0f} s are left"
