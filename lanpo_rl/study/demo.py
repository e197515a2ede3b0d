"""The main job on embedded defaults: GRPO and two presets of LANPO, with control rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lanpo_memory.errors import ConfigError
from lanpo_rl.study.arms import GRPO, MEMORY_ONLY, PAPER, RECOMMENDED, Arm
from lanpo_rl.study.report import Row, draw_curves, write_results
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.run import OnStep, run_arm
from lanpo_rl.study.subjects import CONSTANTS_SUBJECT

__all__ = ["DEMO_ARMS", "Demo", "rows_of", "run_demo"]

DEMO_ARMS: tuple[Arm, ...] = (MEMORY_ONLY, GRPO, PAPER, RECOMMENDED)


@dataclass(frozen=True)
class Demo:
    """What the demo leaves behind."""

    results: tuple[ArmResult, ...]
    rows: tuple[Row, ...]
    seconds: float
    curves: Path
    json: Path
    pools: dict[str, Path]


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    steps: int = 200,
    arms: Sequence[Arm] = DEMO_ARMS,
    evaluate_every: int = 25,
    on_step: OnStep = lambda step, steps, what: None,
) -> Demo:
    """Run every arm on the same task from the same seeded policy and report.

    Raises:
        ConfigError: fewer than 4 steps, or no arm.
    """
    if steps < 4 or not arms:
        raise ConfigError("the demo needs at least 4 steps and one arm")
    started = time.perf_counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads are slower on matrices this small
    try:
        results = tuple(
            run_arm(
                arm,
                CONSTANTS_SUBJECT,
                seed=seed,
                steps=steps,
                folder=folder / arm.name,
                evaluate_every=evaluate_every,
                final=False,
                on_step=lambda step, total, what, arm=arm: on_step(  # type: ignore[misc]
                    step, total, f"{arm.label}: {what}"
                ),
            )
            for arm in arms
        )
    finally:
        torch.set_num_threads(threads)
    seconds = time.perf_counter() - started
    rows = tuple(rows_of(results))
    drawn = [r for r in results if r.arm != MEMORY_ONLY.name] or list(results)
    return Demo(
        results=results,
        rows=rows,
        seconds=seconds,
        curves=draw_curves(drawn, folder / "curves.png"),
        json=write_results(
            folder / "results.json",
            results,
            task="hidden_constants",
            seed=seed,
            seconds=round(seconds, 1),
            table=list(rows),
        ),
        pools={r.arm: folder / r.arm / "pool.db" for r in results},
    )


def rows_of(results: Sequence[ArmResult]) -> list[Row]:
    """The table's rows: what each arm can do bare and with its own pool at hand.

    GRPO never reads its pool in training; used at inference it is a control of its own.
    """
    rows: list[Row] = []
    for result in results:
        if result.arm == MEMORY_ONLY.name:
            rows.append(_row(result, "seeded policy", memory=False, cost=False))
        if result.arm == GRPO.name:
            rows.append(_row(result, result.label, memory=False))
            rows.append(_row(result, "GRPO + pool at inference"))
        else:
            rows.append(_row(result, result.label))
    return rows


def _row(result: ArmResult, label: str, *, memory: bool = True, cost: bool = True) -> Row:
    last = result.last
    family = last.right_family
    return {
        "arm": label,
        "zero-shot": f"{last.zero_shot:.2f}",
        "with memory": f"{last.with_memory:.2f}" if memory else "–",
        "right family": f"{family:.2f}" if memory and family is not None else "–",
        "tokens": f"{last.tokens:,}" if cost else "–",
        "seconds": f"{last.seconds:.0f}" if cost else "–",
    }
