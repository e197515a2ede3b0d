"""`lanpo seed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanpo_rl.cli.common import console_of, make_folder, needs_rl, progress_bar, quieten

__all__ = ["seed"]


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
    console = console_of()
    needs_rl()
    quieten()
    from rich.table import Table

    from lanpo_rl.seeding import STEPS, measure_skills, seed_tiny_policy
    from lanpo_rl.tiny import load_policy, load_tokenizer, save_policy

    total = STEPS if steps is None else steps
    make_folder(out)
    with progress_bar(console) as bar:
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
