"""Jobs side by side, each in a process of its own; what is finished stays finished."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.study.jobs import Job
from lanpo_rl.study.running.child import LOG_NAME, Crash, Told, crash_of
from lanpo_rl.study.running.outcomes import (
    STOPPED,
    Event,
    OnEvent,
    Outcome,
    folder_of,
    found_result,
)
from lanpo_rl.study.running.processes import begin
from lanpo_rl.study.running.waiting import Budget, check_jobs, missing_need, next_job

__all__ = ["ERROR_NAME", "run_jobs"]

ERROR_NAME = "error.txt"
_POLL_S = 0.2  # how late Ctrl-C may be noticed
_LAST_LINES = 20


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    processes: int = 2,
    budget_s: float | None = None,
    expected_s: float | None = None,
    on_event: OnEvent = lambda event: None,
) -> list[Outcome]:
    """Run jobs in their order, a job after those that it needs, and say what became of each.

    A job is finished when ``FOLDER/runs/KEY/result.json`` has its fingerprint; then it is not run
    again. Any other job begins anew in an empty folder. One that crashes leaves ``error.txt``
    there, and the others go on. Ctrl-C ends those that run, removes their folders, and returns.

    Args:
        jobs: what is to be done; their work has to be importable, as a process needs it.
        folder: of the study; see `claimed`.
        processes: jobs at a time.
        budget_s: no job begins later than this, or if it is not expected to end by then.
        expected_s: what a job takes, as long as the folder has none that was finished.
        on_event: called in this process.

    Returns:
        One outcome for each job, in their order.

    Raises:
        InvalidInputError: jobs that cannot all be run, or no process to run them in.
    """
    check_jobs(jobs)
    if processes < 1:
        raise InvalidInputError(f"processes must be 1 or more, got {processes}")
    # Processes begin in the folder where Python was started, which need not be the present one.
    return _Run(
        jobs, folder.absolute(), processes, Budget(budget_s, expected_s), on_event
    ).outcomes()


@dataclass
class _Running:
    """A job in progress."""

    job: Job
    process: BaseProcess
    pipe: Connection
    crash: Crash | None = None
    silent: bool = False

    def heard(self) -> Iterator[Told]:
        """What it has told since; a crash is kept."""
        try:
            while not self.silent and self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Crash):
                    self.crash = message
                else:
                    yield message
        except (EOFError, OSError):  # it closed its end, perhaps in the middle of a word
            self.silent = True

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.close()

    def close(self) -> None:
        self.pipe.close()
        self.process.close()


class _Run:
    """One call of `run_jobs`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        processes: int,
        budget: Budget,
        on_event: OnEvent,
    ) -> None:
        self._jobs, self._folder, self._processes = jobs, folder, processes
        self._budget, self._on_event = budget, on_event
        self._outcomes: dict[str, Outcome] = {}
        self._waiting: list[Job] = []
        self._running: list[_Running] = []
        self._stopped = False

    def outcomes(self) -> list[Outcome]:
        with _interrupted_by(self._stop):
            try:
                self._find()
                while self._begin() and not self._stopped:
                    self._follow()
            except KeyboardInterrupt:  # where this is not the main thread, or raised by a callback
                self._stopped = True
            finally:
                self._end()
        for job in self._waiting:
            self._not_run(job, missing_need(job, self._outcomes) or STOPPED)
        return [self._outcomes[job.key] for job in self._jobs]

    def _stop(self) -> None:
        self._stopped = True

    def _find(self) -> None:
        """Take what earlier calls have finished."""
        for job in self._jobs:
            outcome = found_result(self._folder, job)
            if outcome is None:
                self._waiting.append(job)
            else:
                self._finished(job, outcome)
                self._on_event(Event("found", job, share=1.0, outcome=outcome))

    def _begin(self) -> bool:
        """Begin what may begin; false when nothing runs after that."""
        while len(self._running) < self._processes and not self._stopped:
            self._give_up()
            finished = {key for key, o in self._outcomes.items() if o.status == "finished"}
            job = next_job(self._waiting, finished)
            if job is None:
                break
            reason = self._budget.refusal(job)
            if reason is not None:
                for left in self._waiting:
                    self._not_run(left, reason)
                self._waiting.clear()
                break
            self._waiting.remove(job)
            self._start(job)
        return bool(self._running)

    def _give_up(self) -> None:
        """Set aside, one after the other, the jobs whose needs have come to nothing."""
        for job in [*self._waiting]:
            reason = missing_need(job, self._outcomes)
            if reason is not None:
                self._waiting.remove(job)
                self._not_run(job, reason)

    def _start(self, job: Job) -> None:
        try:
            work = pickle.dumps(job.work)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._crashed(job, crash_of(error))
            return
        try:
            process, ours = begin(job, self._jobs, work, self._folder)
        except (OSError, EOFError) as error:  # no memory or no process to be had
            self._crashed(job, crash_of(error))
            return
        self._running.append(_Running(job, process, ours))
        self._on_event(Event("begun", job))

    def _follow(self) -> None:
        """Wait until something happens, and pass it on."""
        pipes = [running.pipe for running in self._running if not running.silent]
        wait([*pipes, *(running.process.sentinel for running in self._running)], _POLL_S)
        for running in [*self._running]:
            ended = not running.process.is_alive()  # before listening: nothing comes afterwards
            for told in running.heard():
                self._on_event(Event("told", running.job, told.share, told.text))
            if ended:
                self._running.remove(running)
                self._ended(running)

    def _ended(self, running: _Running) -> None:
        job, code = running.job, running.process.exitcode
        running.close()
        outcome = found_result(self._folder, job)
        if outcome is None:
            self._crashed(job, running.crash or self._death_of(job, code))
        else:
            self._finished(job, outcome)
            self._on_event(Event("ended", job, share=1.0, outcome=outcome))

    def _end(self) -> None:
        """End what still runs; a result that is there by now counts."""
        for running in self._running:
            running.end()
            outcome = found_result(self._folder, running.job)
            if outcome is None:
                shutil.rmtree(folder_of(self._folder, running.job.key), ignore_errors=True)
                self._not_run(running.job, STOPPED)
            else:
                self._finished(running.job, outcome)
        self._running.clear()

    def _death_of(self, job: Job, code: int | None) -> Crash:
        """What is known about a process that said nothing."""
        if code is not None and code < 0:
            reason = f"killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                reason += "; perhaps there was not enough memory"
        else:
            reason = f"ended with exit code {code} and without a result"
        try:
            log = (folder_of(self._folder, job.key) / LOG_NAME).read_text(errors="replace")
        except OSError:
            log = ""
        return Crash(reason, "\n".join([*log.splitlines()[-_LAST_LINES:], reason]) + "\n")

    def _finished(self, job: Job, outcome: Outcome) -> None:
        self._outcomes[job.key] = outcome
        self._budget.add(job, outcome.seconds)

    def _crashed(self, job: Job, crash: Crash) -> None:
        folder = folder_of(self._folder, job.key)
        with contextlib.suppress(OSError):  # the disk may be full; the outcome has it all
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ERROR_NAME).write_text(crash.trace, encoding="utf-8")
        outcome = Outcome(
            job.key, job.label, "crashed", reason=crash.reason, trace=crash.trace, folder=folder
        )
        self._outcomes[job.key] = outcome
        self._on_event(Event("ended", job, outcome=outcome))

    def _not_run(self, job: Job, reason: str) -> None:
        self._outcomes[job.key] = Outcome(job.key, job.label, "not_run", reason=reason)


@contextlib.contextmanager
def _interrupted_by(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C call `stop` instead of raising wherever the program happens to be."""
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is signal.SIG_IGN:  # as in the background of a shell script
        yield
        return

    signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
