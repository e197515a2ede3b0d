"""`lanpo train`."""

from __future__ import annotations

from typing import Annotated

import typer

from lanpo_memory.errors import ConfigError
from lanpo_memory.stores import shown
from lanpo_rl.cli.common import console_of, ignore_future_warnings, needs_rl, program

__all__ = ["train"]


def train(
    context: typer.Context,
    help_all: Annotated[bool, typer.Option("--help-all", help="Every option, TRL's too.")] = False,
) -> None:
    """Train a causal language model with GRPO and an experience memory.

    --model MODEL and --data FILE are needed. The data is a JSON Lines file or a dataset with a
    problem and an answer in each row; name other columns with --problem_column, --answer_column.

    --preset is recommended, paper or grpo. --config FILE.yaml holds any options. Every field of
    LanpoConfig, and so of TRL's GRPOConfig, is an option: see --help-all. The memory's own options
    are listed in docs/training.md. Without a GPU add --use_cpu true --bf16 false.

    Example: lanpo train --model Qwen/Qwen3-0.6B --data problems.jsonl --output_dir runs/mine
    """
    needs_rl("math_verify")
    ignore_future_warnings()
    from lanpo_rl import training
    from lanpo_rl.collective import leave

    if help_all:
        training.print_help()
        return
    if not context.args:
        raise ConfigError("lanpo train needs --model and --data; see lanpo train --help")
    try:
        trainer = training.train(context.args)
    except KeyboardInterrupt:
        console_of().print(
            "stopped. The same command with --resume_from_checkpoint true goes on from the last "
            "checkpoint",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    console = console_of()
    pool = shown(trainer.args.pool)
    console.print(f"model {trainer.args.output_dir}, pool {pool}", soft_wrap=True)
    console.print(f"look at it: {program()} pool stats --pool {pool}", soft_wrap=True)
    leave(trainer.accelerator)
