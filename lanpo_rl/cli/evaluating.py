"""`lanpo eval`: how often a model is right, with and without what a pool has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lanpo_memory.cli.common import GammaOption, NamespaceOption
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
from lanpo_memory.cli.terminal import counted, cut, progress, report, to_screen, waiting
from lanpo_memory.errors import BudgetExceeded, ConfigError, NoAnswerError
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.protocols import ChatModel
from lanpo_memory.solving import MODES
from lanpo_memory.types import Scalar, Solution, SolveMode
from lanpo_rl.cli.common import make_folder

if TYPE_CHECKING:
    from lanpo_memory.pool import ExperiencePool
    from lanpo_rl.evaluation import Results
    from lanpo_rl.evaluation.making import Language
    from lanpo_rl.evaluation.report import About
    from lanpo_rl.evaluation.running import Run
    from lanpo_rl.tasks import Example

__all__ = ["evaluate"]


def evaluate(
    model: ModelOption,
    data: Annotated[
        str,
        typer.Option(
            metavar="FILE_OR_DATASET",
            help="Problems with reference answers: a JSON Lines file, or a folder or name of a "
            "dataset.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="For samples and reports. What stands there is not asked again."
        ),
    ],
    pool: Annotated[
        str | None,
        typer.Option("--pool", "-p", help="Path or address of a pool.", metavar="PATH_OR_URL"),
    ] = None,
    namespace: NamespaceOption = "default",
    mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODE",
            help="zero_shot, retrieval, self_correct or retrieval+self_correct; may be given "
            "several times. Without: all four with a pool, else zero_shot.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="K", help="Answers to each problem in each mode.")
    ] = 1,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 is greedy; more than one sample needs more.")
    ] = 0.0,
    prompts: Annotated[
        str, typer.Option(help="Language of the roles: english, or tiny for the built-in policy.")
    ] = "english",
    problem_column: Annotated[
        str, typer.Option("--problem-column", "--problem_column", help="Column of the problem.")
    ] = "problem",
    answer_column: Annotated[
        str, typer.Option("--answer-column", "--answer_column", help="Column of the answer.")
    ] = "answer",
    answer_marker: Annotated[
        str | None, typer.Option(help="The answer follows this mark; #### for GSM8K.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a dataset.")] = "test",
    config_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Configuration of a dataset that has several; main for GSM8K."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N problems.")
    ] = None,
    answer_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most tokens of one answer.")
    ] = 2048,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most reflections on an answer.")
    ] = 1,
    experiences: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most experiences in one prompt.")
    ] = 1,
    gamma: GammaOption = None,
    drop_templates: Annotated[
        bool,
        typer.Option(
            "--drop-templates",
            help="Keep experiences of the same problem with other numbers out of the guidance.",
        ),
    ] = False,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
    seed: Annotated[int, typer.Option(help="Of sampling, for a local model, and intervals.")] = 0,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Problems asked together; an interruption costs one batch at most.",
        ),
    ] = 16,
    api_base: ApiBaseOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Measure how often a model is right, alone and with a pool.

    Answers go to samples.jsonl in the folder, figures with intervals to report.md and report.json.
    A command that was stopped goes on where it was; more samples, modes or problems may be asked
    for later, other settings are refused. Calls that fail are counted, left out of the figures, and
    asked again next time; the exit code is 1 then. A refusal or an empty answer is a wrong answer.

    A pool with experiences made from these problems is refused.

    Example: lanpo eval --model openai/gpt-4o-mini --data test.jsonl --pool pool.db --out runs/eval
    """
    from lanpo_rl.evaluation import Evaluator, SampleFile, making
    from lanpo_rl.evaluation.estimates import DRAWS
    from lanpo_rl.evaluation.running import Run
    from lanpo_rl.evaluation.sampling import check_plan

    modes = _modes(mode, pool)
    retrieves = any("retrieval" in each for each in modes)
    if drop_templates and not retrieves:
        raise ConfigError("--drop-templates is about guidance; it needs --pool and retrieval")
    check_plan(modes, samples, temperature, pool=pool is not None)
    language = making.language_of(prompts)
    examples = making.read_examples(
        data,
        language.prompts,
        problem_column=problem_column,
        answer_column=answer_column,
        answer_marker=answer_marker,
        split=split,
        config=config_name,
        limit=limit,
    )
    ledger = ledger_of(
        model, api_base=api_base, max_calls=max_calls, max_tokens=max_tokens, max_cost=max_cost
    )
    with _pool(pool if retrieves else None, namespace, embedder, bf16=bf16) as opened:
        # Before the model: what is wrong with a pool or a setting is said at once.
        templates = _checked(opened, pool, examples)
        guide = None
        if opened is not None:
            guide = Guide(
                opened,
                prompts=language.prompts,
                gamma=gamma,
                experiences=experiences,
                drop_templates=drop_templates,
            )
        chat, reseed = _model(model, ledger, api_base, seed=seed, batch=batch)
        evaluator = Evaluator(
            chat,
            modes=modes,
            samples=samples,
            temperature=temperature,
            guide=guide,
            prompts=language.prompts,
            max_tokens=answer_tokens,
            rounds=rounds,
            batch=batch,
            reseed=reseed,
        )
        name = str(getattr(chat, "fingerprint", model))
        settings = making.settings_of(
            evaluator,
            model=name,
            seed=None if reseed is None else seed,
            drop_templates=drop_templates,
        )
        about: dict[str, Mapping[str, Scalar]] = {
            "model": {"name": making.name_of(model), "fingerprint": name},
            "data": making.about_data(data, split, config_name, examples),
            "asking": {
                "samples a problem": samples,
                "temperature": temperature,
                "answers are": _randomness(temperature, None if reseed is None else seed),
                "prompts": prompts,
                "answer tokens": answer_tokens,
                "rounds": rounds,
            },
            "intervals": {"draws": DRAWS, "seed": seed},
            "versions": making.versions(),
        }
        if guide is not None:
            about["pool"] = making.about_pool(
                evaluator, str(pool), templates, drop_templates=drop_templates
            )
        make_folder(out)
        with SampleFile(out / "samples.jsonl", settings) as file:
            run = Run(evaluator, examples, file)
            try:
                failed = _ask(run, ledger)
            except (BudgetExceeded, NoAnswerError):
                _conclude(run, language, seed, out, about)  # with what there is
                raise
            _conclude(run, language, seed, out, about)
    faults = [(f"no answer, {s.mode}:", f"{cut(s.problem.text, 60)}: {s.failure}") for s in failed]
    print_faults(report(), faults)
    if failed:
        raise typer.Exit(1)


# ---------------------------------------------------------------------- what was asked for


def _modes(named: Sequence[str] | None, pool: str | None) -> list[SolveMode]:
    if not named:
        return list(MODES) if pool is not None else ["zero_shot"]
    for name in named:
        if name not in MODES:
            raise ConfigError(f"--mode must be one of {', '.join(MODES)}; got {name!r}")
        if pool is None and "retrieval" in name:
            raise ConfigError(f"--mode {name} needs --pool PATH_OR_URL")
    return [mode for mode in MODES if mode in named]


@contextmanager
def _pool(
    pool: str | None, namespace: str, embedder: str | None, *, bf16: bool
) -> Iterator[ExperiencePool | None]:
    if pool is None:
        yield None
        return
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
        yield opened


def _checked(pool: ExperiencePool | None, name: str | None, examples: Sequence[Example]) -> int:
    """Refuse a pool that knows the problems; count those of which it has the same template."""
    from lanpo_rl.evaluation import contamination_of, refuse_copies

    if pool is None:
        return 0
    with waiting("looking for the problems in the pool"):
        found = contamination_of(pool, [example.problem for example in examples])
    refuse_copies(found, pool, str(name))
    return found.templates


def _model(
    name: str, ledger: Ledger, api_base: str | None, *, seed: int, batch: int
) -> tuple[ChatModel, Callable[[int], ChatModel] | None]:
    """Return the model, and what draws its samples if they can be drawn from a seed."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return load_model(name, ledger, api_base=api_base), None
    from lanpo_memory.models.transformers_loading import check_installed
    from lanpo_rl.evaluation import SeededModels

    check_installed()
    from transformers.utils import logging

    logging.disable_progress_bar()
    with waiting(f"loading {name}"):
        models = SeededModels(folder, ledger=ledger, batch_size=batch, seed=seed)
    return models(0), models


def _randomness(temperature: float, seed: int | None) -> str:
    if not temperature:
        return "greedy" if seed is not None else "greedy, as far as the provider is"
    if seed is None:
        return "drawn by the provider: others each time"
    return f"drawn from seed {seed}: the same each time"


# ---------------------------------------------------------------------- asking and judging


def _ask(run: Run, ledger: Ledger) -> list[Solution]:
    with progress() as bar:
        task = bar.add_task("asking", total=run.wanted, completed=run.done)

        def follow(samples: int) -> None:
            bar.advance(task, samples)
            check_answering(ledger)

        try:
            return run.ask(follow)
        finally:
            print_ledger(report(), ledger)


def _conclude(run: Run, language: Language, seed: int, folder: Path, about: About) -> None:
    """Judge what there is, write the reports, and print what they say first."""
    if not run.done:
        return
    with progress() as bar:
        task = bar.add_task("judging", total=run.done)
        results = run.results(language.score, seed=seed, on_sample=lambda: bar.advance(task))
    _show(folder, results, about)


def _show(folder: Path, results: Results, about: About) -> None:
    from lanpo_rl.evaluation.report import (
        accuracy_rows,
        figure_text,
        sample_rows,
        write_report,
    )

    path = write_report(folder, results, about)
    head, rows = accuracy_rows(results)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)  # four modes on 80 columns
    for name in head:
        table.add_column(
            name.replace("+", "\n+"), justify="right" if name else "left", no_wrap=True
        )
    for row in [*rows, *sample_rows(results)[1]]:
        table.add_row(*(cell.replace(" [", "\n[") for cell in row))
    console = to_screen()
    console.print(f"{counted(results.problems, 'problem')}, {results.k} of each in each mode\n")
    console.print(table)
    console.print()
    for each in results.differences:
        console.print(f"{each.mode} minus {each.other}: {figure_text(each.accuracy, sign=True)}")
    if results.missing:
        console.print(f"{results.missing:,} samples are missing; the figures leave them out")
    console.print(f"report {path}")
