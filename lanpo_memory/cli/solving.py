"""`lanpo solve`: one question, or a file of problems, with or without a pool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from lanpo_memory.cli.common import GammaOption, NamespaceOption, command, spared, tools
from lanpo_memory.cli.embedding import Bf16Option, EmbedderOption, searchable
from lanpo_memory.cli.models import (
    ApiBaseOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    check_answering,
    ledger_of,
    load_model,
    print_faults,
    print_ledger,
)
from lanpo_memory.cli.problems import read_problems
from lanpo_memory.cli.solutions import SolutionFile, row_of
from lanpo_memory.cli.terminal import counted, cut, progress, report, to_screen, wrapped
from lanpo_memory.cli.traces import print_solution
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.solving import MODES, Solver
from lanpo_memory.stores import local_path, shown
from lanpo_memory.types import Problem, Solution, SolveMode, fingerprint

__all__ = ["solve"]


class _Way(NamedTuple):
    """What a problem is solved with."""

    mode: SolveMode
    model: str
    settings: str


@command(of=tools)
def solve(
    model: ModelOption,
    question: Annotated[str | None, typer.Argument(help="The problem to solve.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Solve all of a file instead: JSON Lines with `problem`, `question` or `text`, or "
            "strings.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the solutions of --data go, one JSON object a line. What stands in it, "
            "solved with the same settings, is not asked again.",
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option("--pool", "-p", help="Path or address of a pool.", metavar="PATH_OR_URL"),
    ] = None,
    namespace: NamespaceOption = "default",
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="zero_shot, retrieval, self_correct or retrieval+self_correct. Without: retrieval "
            "with a pool, else zero_shot.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most reflections on an answer.")
    ] = 1,
    answer_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most tokens of one answer.")
    ] = 2048,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    experiences: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most experiences in one prompt.")
    ] = 1,
    gamma: GammaOption = None,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
    explore: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="0..1", help="Share of problems solved without the pool."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the coin of --explore.")] = 0,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Problems asked together; an interruption costs one batch at most.",
        ),
    ] = 16,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the one solution as a line of --out would be.")
    ] = False,
    api_base: ApiBaseOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Solve a question, or a file of problems, with a model and what a pool has learned.

    The pool is only read. With --data the command can be stopped and started again: problems whose
    solution by this model, in this mode and with the same settings stands in --out are not asked
    twice. Settings are pool and namespace, embedder, gamma, number of experiences, --explore with
    its seed, rounds, temperature and answer length, as far as the mode uses them; what the pool
    holds is none. Lines of other settings stay and do not count. Problems that got no answer from
    the model at all are named and left for the next time; the exit code is 1 then.

    Example: lanpo solve "How many eggs are left?" --model openai/gpt-4o-mini --pool pool.db
    """
    chosen = _mode(mode, pool)
    _check_way(question, data, out, as_json=as_json)
    problems, errors = _asked(question, data)
    ledger = ledger_of(
        model,
        api_base=api_base,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
    )
    with (
        _file(out, data) as file,
        _pool(pool if "retrieval" in chosen else None, namespace, embedder, bf16=bf16) as opened,
    ):
        # Before the model: what is wrong with a setting is said at once.
        guide = opened if opened is None else Guide(opened, gamma=gamma, experiences=experiences)
        solver = Solver(
            load_model(model, ledger, api_base=api_base),
            guide=guide,
            max_tokens=answer_tokens,
            temperature=temperature,
            rounds=rounds,
            explore=explore,
            seed=seed,
            batch=batch,
        )
        way = _Way(chosen, model, _settings(solver, chosen, pool, namespace))
        try:
            if file is None:
                failed = _solve_one(solver, problems[0], way, as_json=as_json)
            else:
                failed = _solve_file(solver, problems, way, file)
        finally:
            print_ledger(report(), ledger)
    faults = [("not solved:", f"{cut(s.problem.text, 60)}: {s.failure}") for s in failed]
    print_faults(report(), [*faults, *(("not read:", error) for error in errors)])
    if failed or errors:
        raise typer.Exit(1)


# ---------------------------------------------------------------------- what was asked for


def _mode(mode: str | None, pool: str | None) -> SolveMode:
    if mode is None:
        return "retrieval" if pool is not None else "zero_shot"
    for known in MODES:
        if mode == known:
            if pool is None and "retrieval" in known:
                raise ConfigError(f"--mode {known} needs --pool PATH_OR_URL")
            return known
    raise ConfigError(f"--mode must be one of {', '.join(MODES)}; got {mode!r}")


def _check_way(question: str | None, data: Path | None, out: Path | None, *, as_json: bool) -> None:
    if (question is None) == (data is None):
        raise ConfigError("give one QUESTION, or --data FILE with --out FILE")
    if (data is None) != (out is None):
        raise ConfigError("--data FILE and --out FILE belong together")
    if data is not None and as_json:
        raise ConfigError("--json is for one QUESTION; the lines of --out are JSON anyway")


def _asked(question: str | None, data: Path | None) -> tuple[list[Problem], list[str]]:
    if question is not None:
        return [Problem(text=question)], []
    assert data is not None
    return read_problems(data)


def _settings(solver: Solver, mode: SolveMode, pool: str | None, namespace: str) -> str:
    """A fingerprint of what decides an answer, besides problem, mode and model.

    The pool counts by its place: it may have grown since the command was stopped.
    """
    guide = solver.guide
    parts: list[object] = [solver.max_tokens, solver.temperature]
    if "self_correct" in mode:
        parts += ["rounds", solver.rounds]
    if "retrieval" in mode and pool is not None:
        path = local_path(pool)
        place = shown(pool) if path is None else path.resolve()
        parts += [place, namespace, guide.fingerprint, guide.gamma, guide.selection.experiences]
        parts += [solver.explore, solver.seed] if solver.explore else []
    return fingerprint(*map(str, parts))


@contextmanager
def _file(out: Path | None, data: Path | None) -> Iterator[SolutionFile | None]:
    if out is None or data is None:
        yield None
        return
    with SolutionFile(spared(out, data)) as file:
        yield file


@contextmanager
def _pool(
    pool: str | None, namespace: str, embedder: str | None, *, bf16: bool
) -> Iterator[ExperiencePool | None]:
    if pool is None:
        yield None
        return
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
        yield opened


# ---------------------------------------------------------------------- a file


def _solve_file(
    solver: Solver, problems: Sequence[Problem], way: _Way, file: SolutionFile
) -> list[Solution]:
    """Solve what the file lacks; return what no text came of."""
    todo = [p for p in problems if (p.id, *way) not in file.finished]
    there = len(problems) - len(todo)
    solved: list[Solution] = []
    failed: list[Solution] = []
    with progress() as bar:
        task = bar.add_task("solving", total=len(problems), completed=there)
        try:
            for done in solver.batches(todo, mode=way.mode):
                said = [solution for solution in done if solution.text]
                file.write(said, model=way.model, settings=way.settings)
                solved += said
                failed += [solution for solution in done if not solution.text]
                bar.advance(task, len(done))
                check_answering(solver.model.ledger)
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error}. {there + len(solved):,} of {counted(len(problems), 'problem')} are "
                f"solved in {file.path}; the same command with a larger budget goes on from there"
            ) from error
    _summary(to_screen(), solved, there, len(problems), file.path)
    return failed


def _summary(
    console: Console, solved: Sequence[Solution], there: int, total: int, path: Path
) -> None:
    silent = sum(solution.answer is None for solution in solved)
    guided = sum(any(turn.guidance.experience_ids for turn in s.turns) for s in solved)
    before = f" ({there:,} of them before)" if there else ""
    console.print(f"{there + len(solved):,} of {counted(total, 'problem')} solved{before}: {path}")
    if not solved:
        return
    console.print(f"now: {guided:,} with experiences, {silent:,} without a final answer")
    if "retrieval" in solved[0].mode and not guided:
        said = (
            "no problem found an experience that is similar enough; `lanpo pool why` shows what it "
            "finds, `lanpo pool calibrate` finds a gamma"
        )
        console.print(wrapped("note: ", said, console))


# ---------------------------------------------------------------------- one question


def _solve_one(solver: Solver, problem: Problem, way: _Way, *, as_json: bool) -> list[Solution]:
    solution = solver.solve([problem], mode=way.mode)[0]
    if as_json:
        typer.echo(json.dumps(row_of(solution, way.model, way.settings), ensure_ascii=False))
    else:
        print_solution(to_screen(), solver, solution)
    return [] if solution.text else [solution]
