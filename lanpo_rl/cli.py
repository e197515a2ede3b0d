"""The `lanpo` command. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from lanpo_memory.cli import app as pool_app
from lanpo_memory.cli import tools
from lanpo_memory.errors import ConfigError, LanpoError, MissingExtraError

if TYPE_CHECKING:
    from lanpo_rl.study.demo import Demo

__all__ = ["app", "main"]

app = typer.Typer(
    name="lanpo",
    help="An experience memory for RL runs and agents, and GRPO training with it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(pool_app, name="pool")
app.add_typer(tools)


def main() -> None:
    """Run the command line; an error of ours is one line and exit code 2."""
    try:
        app()
    except LanpoError as error:
        console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        console.print("error:", str(error), style="red")
        sys.exit(2)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _needs_rl(*more: str) -> None:
    """Fail early and helpfully where a package is not installed; keep TRL's loading quiet."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for package in ("torch", "transformers", "trl", "datasets", *more):
        try:
            __import__(package)
        except ImportError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, "rl") from error


# ---------------------------------------------------------------------- demo


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for pools, curves and results.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Makes the task and the run.")] = 0,
    steps: Annotated[int, typer.Option(min=4, help="Training steps of each arm.")] = 200,
) -> None:
    """Train a tiny policy on the CPU: GRPO against two presets of LANPO.

    Everything is built in: the policy, the task, the settings. Takes a few minutes.

    Example: lanpo demo --steps 60 --out runs/short
    """
    console = _console()
    console.print("loading torch, transformers and TRL ...")
    _needs_rl("matplotlib")
    _quieten()
    from lanpo_rl.study.demo import DEMO_ARMS, run_demo

    totals = {arm.label: arm.steps or steps for arm in DEMO_ARMS}
    _make(out)
    with _progress(console) as bar:
        task = bar.add_task("", total=sum(totals.values()))
        follower = _Follower(bar, task)
        result = run_demo(out, seed=seed, steps=steps, on_step=follower)
    _print_demo(console, result, seed)


class _Follower:
    """Adds the steps of all arms up in one bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task, self._done, self._last = bar, task, 0, 0

    def __call__(self, step: int, steps: int, what: str) -> None:
        self._done += step - self._last if step >= self._last else step
        self._last = step if step < steps else 0
        self._bar.update(self._task, completed=self._done, description=what)


def _print_demo(console: Console, result: Demo, seed: int) -> None:
    from lanpo_rl.study.report import table

    console.print(table(result.rows, title=f"hidden constants, held-out problems, seed {seed}"))
    console.print(
        "zero-shot: bare prompt. with memory: the best entry of the arm's pool in front of it.\n"
        "right family: how often the entry shown belongs to the problem's family; retrieval sees "
        "the text alone."
    )
    console.print(
        f"\nlearning curves  {result.curves}\nall numbers      {result.json}", soft_wrap=True
    )
    for name, path in result.pools.items():
        console.print(f"pool {name:<12} {path}", soft_wrap=True)
    pool = result.pools.get("recommended", next(iter(result.pools.values())))
    query = _example_query(result)
    console.print(
        f"\n{result.seconds:.0f} s in all. Next:\n"
        f"  {_program()} pool stats --pool {pool}\n"
        f'  {_program()} pool search "{query}" --pool {pool}\n'
        f"  {_program()} train --help",
        soft_wrap=True,
    )


def _program() -> str:
    """How to call this program again: by name if it is on the path, else by where it lies."""
    return "lanpo" if shutil.which("lanpo") else sys.argv[0]


def _example_query(result: Demo) -> str:
    from lanpo_rl.tasks import make_hidden_constants

    return make_hidden_constants(result.results[0].seed).held_out[0].problem.text


def _quieten() -> None:
    import datasets
    import transformers

    _ignore_future()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()


def _ignore_future() -> None:
    """Libraries warn about their own future; that is not the reader's business here."""
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error


# ---------------------------------------------------------------------- seed


@app.command()
def seed(
    out: Annotated[Path, typer.Option(help="Folder for model and tokenizer.")] = Path("runs/seed"),
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; default: as shipped.")] = None,
    seed: Annotated[int, typer.Option(help="Makes weights and examples.")] = 0,
) -> None:
    """Build the tiny policy from nothing and teach it the skills the method needs.

    It learns to solve, to summarise a rollout, to use hints from other problems and to check an
    earlier attempt: literacy, not answers. The result is compared with the shipped policy.

    Example: lanpo seed --out runs/seed
    """
    console = _console()
    _needs_rl()
    _quieten()
    from rich.table import Table

    from lanpo_rl.seeding import STEPS, measure_skills, seed_tiny_policy
    from lanpo_rl.tiny import load_policy, load_tokenizer, save_policy

    total = STEPS if steps is None else steps
    _make(out)
    with _progress(console) as bar:
        task = bar.add_task("seeding", total=total)
        model = seed_tiny_policy(
            steps=total,
            seed=seed,
            progress=lambda step, loss: bar.update(
                task, completed=step, description=f"seeding, loss {loss:.3f}"
            ),
        )
    save_policy(out, model)
    tokenizer = load_tokenizer()
    made, shipped = measure_skills(model, tokenizer), measure_skills(load_policy(), tokenizer)
    skills = Table("skill", "this one", "shipped", title="share of right answers, greedy")
    for name, value in made.items():
        skills.add_row(name, f"{value:.2f}", f"{shipped[name]:.2f}")
    console.print(skills)
    console.print(f"model and tokenizer: {out}", soft_wrap=True)


# ---------------------------------------------------------------------- train


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    help_all: Annotated[bool, typer.Option("--help-all", help="Every option, TRL's too.")] = False,
) -> None:
    """Train a causal language model with GRPO and an experience memory.

    --model MODEL and --data FILE are needed. The data is a JSON Lines file or a dataset with a
    problem and an answer in each row; name other columns with --problem_column, --answer_column.

    --preset is recommended, paper or grpo. --config FILE.yaml holds any options. Every field of
    LanpoConfig, and so of TRL's GRPOConfig, is an option: see --help-all. The memory's own options
    are listed in docs/getting-started.md. Without a GPU add --use_cpu true --bf16 false.

    Example: lanpo train --model Qwen/Qwen3-0.6B --data problems.jsonl --output_dir runs/mine
    """
    _needs_rl("math_verify")
    _ignore_future()
    from lanpo_rl import training

    if help_all:
        training.print_help()
        return
    if not context.args:
        raise ConfigError("lanpo train needs --model and --data; see lanpo train --help")
    trainer = training.train(context.args)
    console = _console()
    console.print(f"model {trainer.args.output_dir}, pool {trainer.args.pool}", soft_wrap=True)
    console.print(f"look at it: {_program()} pool stats --pool {trainer.args.pool}", soft_wrap=True)
