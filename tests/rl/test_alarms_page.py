"""docs/watching.md names what is logged, and shows the figures of the recorded runs."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from lanpo_rl.alarms import default_alarms

PAGE = Path(__file__).parents[2] / "docs" / "watching.md"
RECORDED = Path(__file__).with_name("test_alarms_recorded.csv")
# What a few steps of the tiny policy do not bring about.
RARE = ["headers_present", "flips_to_wrong", "utility_old", "top_lesson_share", "lessons_shown"]
COLUMNS = [
    "reward_guided", "reward_scratch", "eval_reward", "grad_norm", "top_lesson_share",
    "utility_new", "utility_old", "canary_agreement",
]  # fmt: skip
SHOWN = {
    "recommended": ((0, 20), (40, 60), (100, 120), (180, 200)),
    "recommended, learning rate 5e-4": ((0, 20), (40, 60), (60, 80)),
    "paper": ((0, 20), (100, 120)),
    "paper, intra, answers shown": ((0, 20), (80, 100)),
}


def recorded_table() -> str:
    """Means over a span of steps; of the gradient norm the median."""
    runs: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    with RECORDED.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            runs[row["run"]].append(row)
    rows = [
        f"| run | steps | {' | '.join(f'`{name}`' for name in COLUMNS)} |",
        "|:--|:--|" + "--:|" * len(COLUMNS),
    ]
    for run, spans in SHOWN.items():
        for first, end in spans:
            part = [row for row in runs[run] if first <= int(row["step"]) < end]
            cells = [
                _cell(name, [float(row[name]) for row in part if row[name]]) for name in COLUMNS
            ]
            rows.append(f"| {run} | {first + 1}–{end} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(name: str, values: list[float]) -> str:
    if not values:
        return "–"
    middle = statistics.median if name == "grad_norm" else statistics.fmean
    return f"{middle(values):.2f}"


def test_the_page_shows_the_recorded_runs():
    assert recorded_table() in PAGE.read_text(encoding="utf-8")


def named() -> set[str]:
    """What stands in backticks; `reward_guided`, `_scratch` name two figures."""
    found, last = set(), ""
    for name in re.findall(r"`([a-z_0-9]+)`", PAGE.read_text(encoding="utf-8")):
        if name.startswith("_"):
            found.add(last.rpartition("_")[0] + name)
        else:
            found.add(name)
            last = name
    return found


@pytest.mark.parametrize("name", [*RARE, *default_alarms().figures()])
def test_the_page_names(name):
    assert name in named()


@pytest.mark.parametrize("preset", ["recommended", "paper"])
def test_every_figure_that_is_logged_is_on_the_page(make_trainer, preset):
    trainer = make_trainer(preset, max_steps=4, canary_every=1)
    trainer.train()
    logged = {
        name.removeprefix("lanpo/")
        for row in trainer.state.log_history
        for name in row
        if name.startswith("lanpo/")
    }
    assert {"reward_guided", "step_ms", "canary_own", "alarm_leakage"} <= logged
    assert logged - named() == set()
