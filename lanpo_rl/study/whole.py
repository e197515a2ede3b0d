"""A whole study from Python: its jobs, what became of them, and the report."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lanpo_memory.errors import ConfigError
from lanpo_rl.study.jobs import Job
from lanpo_rl.study.planning import plan
from lanpo_rl.study.report import Failed, Findings, NotRun, StudyReport, write_report
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.running import OnEvent, Outcome, claimed, run_jobs
from lanpo_rl.study.running.processes import NAME
from lanpo_rl.study.studies import Study

__all__ = ["findings_of", "run_study"]


def run_study(
    study: Study,
    folder: Path,
    *,
    seeds: int | None = None,
    arms: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    processes: int = 2,
    budget_s: float | None = None,
    on_event: OnEvent = lambda event: None,
) -> StudyReport:
    """Make the runs of a study that are missing, and write the report of those that are there.

    Call it under ``if __name__ == "__main__":``, for each run is a process that imports your file.
    A run that crashes is no exception: the report that is returned names it in `failed`.

    Args:
        study: what is run.
        folder: for runs and report; one that this study began is gone on with.
        seeds: how many; by default the study's own number.
        arms: names of those to run; by default all.
        subjects: names of those to run on; by default all.
        processes: runs at a time.
        budget_s: no run begins that is not expected to end by then.
        on_event: told what happens.

    Raises:
        ConfigError: no seed, an unknown arm or subject, a folder that is not this study's, or the
            call is made again by the process of a run.
    """
    if multiprocessing.current_process().name.startswith(NAME):
        raise ConfigError(
            'a run\'s process imports your file: call run_study under if __name__ == "__main__":'
        )
    seeds = study.seeds if seeds is None else seeds
    jobs = plan(study, seeds=seeds, arms=arms, subjects=subjects)
    with claimed(folder, study.name):
        outcomes = run_jobs(jobs, folder, processes=processes, budget_s=budget_s, on_event=on_event)
        return write_report(folder, findings_of(study, jobs, outcomes, seeds=seeds, arms=arms))


def findings_of(
    study: Study,
    jobs: Sequence[Job],
    outcomes: Sequence[Outcome],
    *,
    seeds: int,
    arms: Sequence[str] | None = None,
) -> Findings:
    """Sort what became of a study's jobs for its report.

    Raises:
        ConfigError: a run was left by another version of this package.
    """
    wanted = [job.key.rsplit("/", 2) for job in jobs if job.result]  # SUBJECT/ARM/SEED
    runs: dict[str, list[ArmResult]] = {subject: [] for subject, _, _ in wanted}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if job.result and outcome.status == "finished":
            try:
                run = ArmResult.from_json(outcome.result)
            except (TypeError, KeyError):
                raise ConfigError(
                    f"{outcome.folder} holds a run of another version of lanpo; remove it and give "
                    "the same command again"
                ) from None
            runs[job.key.rsplit("/", 2)[0]].append(run)
    return Findings(
        study,
        runs,
        seeds,
        date=datetime.now(UTC).date().isoformat(),
        failed=[
            Failed(o.key, o.label, o.trace, is_run=job.result)
            for job, o in zip(jobs, outcomes, strict=True)
            if o.status == "crashed"
        ],
        not_run=[
            NotRun(o.key, o.label, o.reason, is_run=job.result)
            for job, o in zip(jobs, outcomes, strict=True)
            if o.status == "not_run"
        ],
        # Not those asked for alone: one that is measured by another brings it along.
        only=() if arms is None else [*dict.fromkeys(arm for _, arm, _ in wanted)],
    )
