"""`lanpo study`: arms against each other over several seeds, and a report of what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding

from lanpo_memory.cli.terminal import counted, defused
from lanpo_memory.errors import ConfigError
from lanpo_rl.cli.common import console_of, needs_rl, quieten

if TYPE_CHECKING:
    from lanpo_rl.study.jobs import Job
    from lanpo_rl.study.report import Findings
    from lanpo_rl.study.running import Outcome
    from lanpo_rl.study.studies import Study

__all__ = ["study"]

_CORES = 2
"""Runs at a time when the minutes of the studies were measured."""
_EVALUATING = 20
"""What is asked of a policy before and after training takes as long as some 20 steps."""


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; see --list.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="How many. Without: the study's own number.")
    ] = None,
    arms: Annotated[
        str | None, typer.Option(metavar="A,B", help="Arms to run. Without: all of the study.")
    ] = None,
    subjects: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Subjects to run on. Without: all of the study."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES", help="Begin no run that would not end by then. Without: no limit."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For runs and report. Without: runs/study-NAME.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(metavar="N", help="Runs at a time.")] = 2,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Your own policy; with --data. Without: the built-in tasks."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own problems, JSON Lines.")
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(metavar="N", help="Problems of --data that are measured on. Without: 200."),
    ] = None,
    problem_column: Annotated[
        str | None,
        typer.Option(
            "--problem-column",
            "--problem_column",
            help="Where a problem of --data is. Without: problem.",
        ),
    ] = None,
    answer_column: Annotated[
        str | None,
        typer.Option(
            "--answer-column", "--answer_column", help="Where its answer is. Without: answer."
        ),
    ] = None,
    answer_marker: Annotated[
        str | None, typer.Option(metavar="MARK", help="The answer follows this, such as ####.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Of every arm on --data. Without: 1e-6.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Say which studies there are.")] = False,
) -> None:
    """Run arms against each other, over several seeds, and write a report.

    A finished run is never made twice: after Ctrl-C, a crash or a budget that was used up, the
    same command goes on. The report is written in any case, from the runs that are there.

    Exit code: 0 if every run finished, 1 if some crashed or were not begun, 2 if what was asked for
    makes no sense, 130 after Ctrl-C.

    Example: lanpo study quick --seeds 3 --out runs/quick
    """
    _check_numbers(seeds, budget, processes, held_out)
    if (model is None) != (data is None):
        raise ConfigError("--model and --data belong together: give both, or none")
    of_data: dict[str, Any] = {
        "held_out": held_out,
        "problem_column": problem_column,
        "answer_column": answer_column,
        "answer_marker": answer_marker,
        "learning_rate": learning_rate,
    }
    lone = [name for name, value in of_data.items() if value is not None and data is None]
    if lone:
        raise ConfigError(
            f"--{lone[0].replace('_', '-')} is for --model and --data; give them, too"
        )
    if name is None and not show_list:
        raise ConfigError("name a study, such as quick; lanpo study --list says which there are")
    console = console_of()
    console.print("loading torch, transformers and TRL ...")
    needs_rl("matplotlib")
    quieten()
    from lanpo_rl.study.planning import plan
    from lanpo_rl.study.studies import STUDIES

    if show_list:
        _print_list(console, STUDIES)
        return
    chosen = _named(STUDIES, name or "")
    if model is not None and data is not None:
        from lanpo_rl.study.own import check_on_your_own, on_your_own

        given = {name: value for name, value in of_data.items() if value is not None}
        chosen = on_your_own(chosen, model=model, data=data, **given)
        check_on_your_own(chosen)
    chosen_arms, chosen_subjects = _names(arms), _names(subjects)
    n_seeds = chosen.seeds if seeds is None else seeds
    jobs = plan(chosen, seeds=n_seeds, arms=chosen_arms, subjects=chosen_subjects)
    expected_s: float | None = None
    if model is None:  # what another model takes is learned from its first run
        each_s = _run_s(chosen, chosen_arms, chosen_subjects)
        _check_budget(budget, min(each_s))
        expected_s = sum(each_s) / len(each_s)
    try:
        outcomes = _run(
            console,
            chosen,
            jobs,
            folder=out or Path("runs") / f"study-{chosen.name}",
            seeds=n_seeds,
            arms=chosen_arms,
            budget_s=None if budget is None else budget * 60,
            expected_s=expected_s,
            processes=processes,
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    code = _exit_code(outcomes)
    if code:
        raise typer.Exit(code)


def _run(
    console: Console,
    study: Study,
    jobs: Sequence[Job],
    *,
    folder: Path,
    seeds: int,
    arms: Sequence[str] | None,
    budget_s: float | None,
    expected_s: float | None,
    processes: int,
) -> list[Outcome]:
    from lanpo_rl.study.running import claimed, run_jobs
    from lanpo_rl.study.running.display import displayed
    from lanpo_rl.study.whole import findings_of

    with claimed(folder, study.name):
        console.print(f"study {study.name}: {_amount(jobs)} in {folder}", soft_wrap=True)
        with displayed(console, len(jobs), processes) as on_event:
            outcomes = run_jobs(
                jobs,
                folder,
                processes=processes,
                budget_s=budget_s,
                expected_s=expected_s,
                on_event=on_event,
            )
        _print_undone(console, jobs, outcomes)
        findings = findings_of(study, jobs, outcomes, seeds=seeds, arms=arms)
        _print_report(console, folder, findings)
    return outcomes


# ---------------------------------------------------------------------- what was asked for


def _check_numbers(
    seeds: int | None, budget: float | None, processes: int, held_out: int | None
) -> None:
    counts = {"seeds": seeds, "processes": processes, "held-out": held_out}
    for name, number in counts.items():
        if number is not None and number < 1:
            raise ConfigError(f"--{name} must be 1 or more, got {number}")
    if budget is not None and not budget > 0:
        raise ConfigError(f"--budget must be more than 0 minutes, got {budget:g}")


def _names(listed: str | None) -> list[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",")]


def _named(studies: Sequence[Study], name: str) -> Study:
    found = [study for study in studies if study.name == name]
    if not found:
        names = ", ".join(study.name for study in studies)
        raise ConfigError(f"there is no study {name!r}; there are {names}")
    return found[0]


def _run_s(study: Study, arms: Sequence[str] | None, subjects: Sequence[str] | None) -> list[float]:
    """Estimate what the runs of one seed take, from what the whole study took: by their steps."""
    steps = [
        (
            part.subject.name,
            arm.name,
            _EVALUATING + (part.steps if arm.steps is None else arm.steps),
        )
        for part in study.parts
        for arm in part.arms
    ]
    step_s = study.minutes * 60 * _CORES / study.seeds / sum(n for _, _, n in steps)
    return [
        n * step_s
        for subject, arm, n in steps
        if (arms is None or arm in arms) and (subjects is None or subject in subjects)
    ]


def _check_budget(budget: float | None, shortest_s: float) -> None:
    if budget is not None and budget * 60 < shortest_s:
        raise ConfigError(
            f"--budget {budget:g} is not enough for one run: the shortest takes about "
            f"{shortest_s / 60:.1f} minutes; give more, or leave it out"
        )


# ---------------------------------------------------------------------- what is said


def _print_list(console: Console, studies: Sequence[Study]) -> None:
    from lanpo_rl.study.running.display import duration

    for study in studies:
        console.print(f"\n{study.name}: {study.question}")
        runs = 0
        for part in study.parts:
            runs += len(part.arms) * study.seeds
            text = f"{part.subject.name}: {', '.join(arm.name for arm in part.arms)}"
            console.print(Padding(text, (0, 0, 0, 2), expand=False))
        console.print(
            f"  {counted(study.seeds, 'seed')}, {counted(runs, 'run')}, about "
            f"{duration(study.minutes * 60)} on two cores"
        )


def _amount(jobs: Sequence[Job]) -> str:
    runs = sum(job.result for job in jobs)
    first = len(jobs) - runs
    policies = f", and {first} {'policy' if first == 1 else 'policies'} to begin with"
    return counted(runs, "run") + (policies if first else "")


def _print_undone(console: Console, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Say what has no result, and why."""
    runs = sum(job.result for job in jobs)
    done = sum(o.status == "finished" and j.result for j, o in zip(jobs, outcomes, strict=True))
    console.print(f"{done} of {counted(runs, 'run')} finished")
    for outcome in outcomes:
        if outcome.status == "crashed":
            where = outcome.folder / "error.txt"
            console.print(
                f"{outcome.label} crashed: {defused(outcome.reason)}; see {where}", soft_wrap=True
            )
    reasons = Counter(
        outcome.reason
        for job, outcome in zip(jobs, outcomes, strict=True)
        if outcome.status == "not_run" and job.result
    )
    for reason, n in reasons.items():
        console.print(f"{counted(n, 'run')} not done: {reason}", soft_wrap=True)
    if done < runs:
        console.print("the same command goes on from here")


def _print_report(console: Console, folder: Path, findings: Findings) -> None:
    """Write the report of what is there, and show the short of it."""
    from lanpo_rl.study.report import table, write_report

    try:
        report = write_report(folder, findings)
    except OSError as error:
        raise ConfigError(
            f"cannot write the report: {error.strerror or error}; the runs are kept: make room and "
            "give the same command again"
        ) from error
    for subject, rows in report.headline.items():
        console.print("", table(rows, title=subject), sep="\n")
    console.print(
        f"\nreport       {report.markdown}\nas a page    {report.html}\nall numbers  {report.json}",
        soft_wrap=True,
    )


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    from lanpo_rl.study.running import STOPPED

    if any(outcome.reason == STOPPED for outcome in outcomes):
        return 130
    return 0 if all(outcome.status == "finished" for outcome in outcomes) else 1
