"""The `lanpo` command. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from lanpo_memory.cli import app as pool_app
from lanpo_memory.cli import tools
from lanpo_memory.cli.common import command
from lanpo_memory.errors import LanpoError
from lanpo_rl.cli.demonstrating import demo
from lanpo_rl.cli.evaluating import evaluate
from lanpo_rl.cli.seeding import seed
from lanpo_rl.cli.studying import study
from lanpo_rl.cli.training import train

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
command(of=app)(demo)
command("eval", of=app)(evaluate)
command(of=app)(seed)
command(of=app)(study)
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}  # `train` has a parser of its own
command(of=app, context_settings=_ANY)(train)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lanpo {version('lanpo')}")
        raise typer.Exit


@app.callback()
def _lanpo(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; an error of ours is one line and exit code 2."""
    try:
        app()
    except LanpoError as error:
        console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        console.print("error:", str(error), style="red")
        sys.exit(2)
