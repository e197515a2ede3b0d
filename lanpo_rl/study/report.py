"""What a study shows: a table, learning curves, and everything as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from lanpo_rl.study.results import ArmResult

__all__ = ["Row", "draw_curves", "machine", "markdown", "table", "versions", "write_results"]

_PACKAGES = ("lanpo", "torch", "transformers", "trl", "accelerate", "numpy", "pydantic")

Row = dict[str, str]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """One line about the machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or sys.platform
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(rows: Sequence[Row], *, title: str) -> Table:
    """A table for the terminal; the columns are the keys of the first row."""
    result = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for i, name in enumerate(rows[0]):
        result.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        result.add_row(*row.values())
    return result


def markdown(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    heads = list(rows[0])
    lines = [heads, [":--" if i == 0 else "--:" for i in range(len(heads))]]
    lines += [list(row.values()) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


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
            "thousand generated tokens, summaries included",
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
