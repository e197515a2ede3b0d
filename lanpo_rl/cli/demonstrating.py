"""`lanpo demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from lanpo_rl.cli.common import (
    console_of,
    make_folder,
    needs_rl,
    program,
    progress_bar,
    quieten,
)

if TYPE_CHECKING:
    from lanpo_rl.study.demo import Demo

__all__ = ["demo"]


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
    console = console_of()
    console.print("loading torch, transformers and TRL ...")
    needs_rl("matplotlib")
    quieten()
    from lanpo_rl.study.demo import DEMO_ARMS, run_demo

    totals = {arm.label: arm.steps or steps for arm in DEMO_ARMS}
    make_folder(out)
    with progress_bar(console) as bar:
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
        f"  {program()} pool stats --pool {pool}\n"
        f'  {program()} pool search "{query}" --pool {pool}\n'
        f"  {program()} train --help",
        soft_wrap=True,
    )


def _example_query(result: Demo) -> str:
    from lanpo_rl.tasks import make_hidden_constants

    return make_hidden_constants(result.results[0].seed).held_out[0].problem.text
