"""What a few single runs show, one an arm: their curves as a picture, and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanpo_rl.study.report.origins import machine, versions
from lanpo_rl.study.results import ArmResult

__all__ = ["draw_curves", "write_results"]


def draw_curves(results: Sequence[ArmResult], path: Path) -> Path:
    """Draw zero-shot and with-memory accuracy against steps and generated tokens, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), sharey=True, layout="constrained")
    panels = (
        ("zero_shot", "step", "Zero-shot accuracy", "training step"),
        ("with_memory", "step", "Accuracy with memory", "training step"),
        (
            "zero_shot",
            "tokens",
            "Zero-shot accuracy, by tokens",
            "thousand generated tokens",
        ),
    )
    for axis, (y, x, title, label) in zip(axes, panels, strict=True):
        for result in results:
            scale = 1_000 if x == "tokens" else 1
            points = [(getattr(p, x) / scale, getattr(p, y)) for p in result.curve]
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=result.label)
        axis.set(title=title, xlabel=label, ylim=(-0.02, 1.02))
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("share of held-out problems")
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=len(results), frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def write_results(path: Path, results: Sequence[ArmResult], **about: Any) -> Path:
    """Write every number as JSON: machine, versions, settings, curves, logs."""
    content = {
        "machine": machine(),
        "versions": versions(),
        **about,
        "arms": [result.as_json() for result in results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
