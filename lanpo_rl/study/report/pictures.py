"""Learning curves of several seeds, against steps, generated tokens and wall-clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lanpo_memory.errors import PoolWriteError
from lanpo_rl.study.report.findings import ArmRuns, SubjectRuns
from lanpo_rl.study.results import ArmResult, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Band", "band", "draw_subject", "grouped"]

_MOST = 8
_ALWAYS = ("grpo", "recommended")
_UNTRAINED = ("no_rl", "memory_only")
# Okabe and Ito: told apart with any colour vision.
_COLORS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f3c8d")
_STYLES: dict[str, dict[str, Any]] = {
    "grpo": {"color": "#444444", "linestyle": "--", "linewidth": 2.2},
    "recommended": {"color": "#d55e00", "linewidth": 2.4},
}
_AXES = (
    ("step", "training step", 1),
    ("tokens", "thousand generated tokens", 1000),
    ("seconds", "seconds of training", 1),
)
_MEMORY = "with memory"
_PANELS: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
    ("zero-shot", lambda point: point.zero_shot),
    (_MEMORY, lambda point: point.with_memory),
    ("self-corrected", lambda point: point.self_corrected),
)


class Band(NamedTuple):
    """A curve over seeds: mean, least and most at each x."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(
    runs: Sequence[ArmResult], axis: str, look: Callable[[Point], float | None]
) -> Band | None:
    """Return the mean curve of an arm with the range over its seeds; `None` without one.

    Runs are averaged step by step, up to the last step that all of them have; between the
    evaluations of a run, on a straight line. Tokens and seconds are averaged in the same way.

    Args:
        runs: of one arm.
        axis: ``step``, ``tokens`` or ``seconds``.
        look: the figure.
    """
    import numpy as np

    curves = [[(p, y) for p in run.curve if (y := look(p)) is not None] for run in runs]
    curves = [curve for curve in curves if curve]
    if not curves:
        return None
    end = min(curve[-1][0].step for curve in curves)
    steps = sorted({point.step for curve in curves for point, _ in curve if point.step <= end})
    at = [[point.step for point, _ in curve] for curve in curves]
    ys = [
        np.interp(steps, when, [y for _, y in curve])
        for when, curve in zip(at, curves, strict=True)
    ]
    xs = [
        np.interp(steps, when, [getattr(point, axis) for point, _ in curve])
        for when, curve in zip(at, curves, strict=True)
    ]
    rows = (np.mean(xs, axis=0), np.mean(ys, axis=0), np.min(ys, axis=0), np.max(ys, axis=0))
    return Band(*(row.tolist() for row in rows))


def grouped(found: SubjectRuns) -> list[list[ArmRuns]]:
    """Return the arms of each picture: about 8, with GRPO and the recommended preset in each.

    Where others change the paper's preset, that is there too.
    """
    arms = [arm for arm in found.arms.values() if arm.runs and arm.name not in _UNTRAINED]
    always = [arm for arm in arms if arm.name in _ALWAYS]
    others = [arm for arm in arms if arm.name not in _ALWAYS]
    pictures = max(1, -(-len(others) // (_MOST - len(always))))
    each = -(-len(others) // pictures)  # the same number in each, as nearly as can be
    parts = [others[i * each : (i + 1) * each] for i in range(pictures)]
    return [[*always, *_papers(part, found), *part] for part in parts if always or part]


def _papers(part: Sequence[ArmRuns], found: SubjectRuns) -> list[ArmRuns]:
    paper = found.arms.get("paper")
    wanted = any(arm.name.startswith("paper_") for arm in part) and paper not in part
    return [paper] if paper and paper.runs and wanted else []


def draw_subject(found: SubjectRuns, folder: Path) -> list[Path]:
    """Draw the curves of a subject as PNG files in `folder`, and return their paths in order."""
    groups = grouped(found)
    name = found.subject.name
    paths = [folder / f"{name}-{i}.png" for i in range(1, len(groups) + 1)]
    for arms, path in zip(groups, paths, strict=True):
        _draw(found, arms, path)
    return paths


def _draw(found: SubjectRuns, arms: Sequence[ArmRuns], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [
        (title, look)
        for title, look in _PANELS
        if (found.retrieves or title != _MEMORY)
        and any(look(point) is not None for arm in arms for run in arm.runs for point in run.curve)
    ]
    empty = [
        arm.name
        for arm in arms  # of a pool that nothing is known of, it may hold something
        if all(run.pool and not run.pool.get("experiences") for run in arm.runs)
    ]
    figure, grid = plt.subplots(
        len(_AXES),
        len(panels),
        figsize=(5.2 * len(panels), 10.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    try:
        for row, (axis, label, scale) in zip(grid, _AXES, strict=True):
            for place, (title, look) in zip(row, panels, strict=True):
                _panel(place, arms, axis, scale, look, hidden=empty if title == _MEMORY else ())
                place.set(title=f"{title}, by {label}", xlabel=label, ylim=(-0.02, 1.02))
            row[0].set_ylabel("share of held-out problems")
        names = grid[0][0].get_legend_handles_labels()
        columns = 2 * len(panels)
        figure.legend(*names, loc="outside lower center", ncols=columns, frameon=False)
        several = any(len(arm.runs) > 1 for arm in arms)
        what = "mean over seeds, band from least to most" if several else "one seed"
        figure.suptitle(f"{found.subject.label}: {what}")
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            figure.savefig(part, dpi=100, format="png", metadata={"Software": None})
            part.replace(path)
        except OSError as error:
            raise PoolWriteError(f"cannot write {path}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
    finally:
        plt.close(figure)


def _panel(
    place: Axes,
    arms: Sequence[ArmRuns],
    axis: str,
    scale: int,
    look: Callable[[Point], float | None],
    hidden: Collection[str] = (),
) -> None:
    from matplotlib.ticker import MaxNLocator

    others = [arm.name for arm in arms if arm.name not in _STYLES]
    for arm in arms:
        curve = None if arm.name in hidden else band(arm.runs, axis, look)
        if curve is None:
            continue
        style = _STYLES.get(arm.name) or {"color": _COLORS[others.index(arm.name) % len(_COLORS)]}
        x = [value / scale for value in curve.x]
        place.plot(x, curve.mean, marker="o", markersize=3, label=arm.label, **style)
        if len(arm.runs) > 1:
            place.fill_between(x, curve.low, curve.high, alpha=0.13, color=style["color"], lw=0)
    if axis == "step":
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    place.grid(visible=True, alpha=0.3)
