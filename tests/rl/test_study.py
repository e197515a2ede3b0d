"""The study: what a short run leaves behind, and what the `demo` command says about it."""

from __future__ import annotations

import json
import platform
import re
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_memory.pool import open_pool
from lanpo_rl import cli
from lanpo_rl.clock import STAGES
from lanpo_rl.study import demo as demo_module
from lanpo_rl.study.arms import GRPO, MEMORY_ONLY, PAPER, RECOMMENDED, arm_config
from lanpo_rl.study.demo import DEMO_ARMS, Demo, rows_of, run_demo
from lanpo_rl.study.report import markdown, table, versions
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.study.subjects import CONSTANTS_SUBJECT
from lanpo_rl.tasks import make_hidden_constants

COLUMNS = ["arm", "zero-shot", "with memory", "right family", "tokens", "seconds"]
short = partial(run_demo, steps=4, evaluate_every=2, arms=(GRPO, RECOMMENDED))


@pytest.fixture(scope="module")
def followed() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, followed: list[tuple[int, int, str]]) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    return short(folder, on_step=lambda *told: followed.append(told))


@pytest.fixture(scope="module")
def written(ran: Demo) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ran.json.read_text())
    return content


# ---------------------------------------------------------------------- what is left behind


def test_each_arm_has_a_curve_from_the_seeded_policy_to_the_last_step(written: dict[str, Any]):
    assert [arm["arm"] for arm in written["arms"]] == ["grpo", "recommended"]
    for arm in written["arms"]:
        curve = arm["curve"]
        assert [point["step"] for point in curve] == [0, 2, 4]
        assert curve[0]["tokens"] == 0
        for name in ("tokens", "seconds"):
            assert [p[name] for p in curve] == sorted(p[name] for p in curve)
        for name in ("zero_shot", "with_memory", "guided"):
            assert all(0 <= point[name] <= 1 for point in curve)
        assert curve[0]["guided"] == 0  # the pool was empty
        assert curve[0]["right_family"] is None
        assert [row["step"] for row in arm["log"]] == [1, 2, 3, 4]
        assert {*arm["stage_seconds"]} == {*STAGES} - {"other"}
        assert all(seconds >= 0 for seconds in arm["stage_seconds"].values())
    first, second = (arm["curve"][0]["zero_shot"] for arm in written["arms"])
    assert first == second  # the same seeded policy


def test_tokens_are_those_that_were_logged(written: dict[str, Any]):
    for arm in written["arms"]:
        rollouts, summaries = (
            sum(row[f"lanpo/{kind}_tokens"] for row in arm["log"])
            for kind in ("completion", "summary")
        )
        last = arm["curve"][-1]
        assert summaries == last["summary_tokens"] > 0
        # GRPO never reads what was summarised: it does not pay for it either.
        paid = rollouts + (summaries if arm["arm"] == "recommended" else 0)
        assert last["tokens"] == paid


def test_settings_and_versions_are_written(written: dict[str, Any]):
    grpo, recommended = (arm["settings"] for arm in written["arms"])
    assert (grpo["feedback_ratio"], grpo["learning_rate"]) == (0.0, GRPO.learning_rate)
    assert recommended["objective"] == "both"
    assert recommended["learning_rate"] == RECOMMENDED.learning_rate
    assert grpo["max_steps"] == recommended["max_steps"] == 4
    assert written["versions"] == versions()
    assert written["versions"]["python"] == platform.python_version()
    assert "trl" in written["versions"]
    assert (written["task"], written["seed"]) == ("hidden_constants", 0)
    assert "cores" in written["machine"]


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in (*value, *value.values()) for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_no_local_path_and_no_host_name_is_written(ran: Demo, written: dict[str, Any]):
    text = ran.json.read_text()
    assert str(ran.json.parent) not in text
    assert str(Path.home()) not in text
    assert socket.gethostname() not in re.findall(r"[\w.-]+", text)
    assert "GRPO" in strings(written)
    assert [value for value in strings(written) if Path(value).is_absolute()] == []


def test_the_curves_are_a_png(ran: Demo):
    assert ran.curves.name == "curves.png"
    assert ran.curves.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_each_arm_leaves_the_pool_that_was_reported(ran: Demo, written: dict[str, Any]):
    held_out = {e.problem.id for e in make_hidden_constants(0).held_out}
    for arm in written["arms"]:
        with open_pool(ran.pools[arm["arm"]], create=False) as pool:
            assert pool.digest() == arm["pool_digest"]
            assert pool.stats() == arm["pool"]
            assert len(pool) > 0
            assert {e.problem.id for e in pool.store.read("experience")}.isdisjoint(held_out)
            exposures = pool.store.count("exposure")
        assert (exposures > 0) == (arm["arm"] == "recommended")
    folder = ran.json.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "curves.png",
        "grpo",
        "recommended",
        "results.json",
    ]
    assert not (folder / "grpo" / "trainer").exists()


def test_rows_have_the_columns_of_the_table(ran: Demo, written: dict[str, Any]):
    assert [row["arm"] for row in ran.rows] == [
        "GRPO",
        "GRPO + pool at inference",
        "LANPO recommended",
    ]
    assert all([*row] == COLUMNS for row in ran.rows)
    assert written["table"] == list(ran.rows)
    grpo, with_pool, recommended = ran.rows
    assert grpo["with memory"] == "–"
    last = ran.results[1].last
    assert recommended["zero-shot"] == f"{last.zero_shot:.2f}"
    assert recommended["with memory"] == f"{last.with_memory:.2f}"
    assert recommended["tokens"] == f"{last.tokens:,}"
    assert with_pool["with memory"] == f"{ran.results[0].last.with_memory:.2f}"


def test_progress_is_told_for_every_step(ran: Demo, followed: list[tuple[int, int, str]]):
    for label in (GRPO.label, RECOMMENDED.label):
        told = [step for step, total, what in followed if what == f"{label}: trains"]
        assert told == [1, 2, 3, 4]
        assert (0, 4, f"{label}: starts") in followed


def test_the_same_seed_gives_the_same_pools_and_an_old_folder_is_replaced(ran: Demo):
    folder = ran.json.parent
    before = [r.pool_digest for r in ran.results]
    again = short(folder, arms=(RECOMMENDED,))
    assert again.results[0].pool_digest == before[1]


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("settings", [{"steps": 3}, {"steps": 4, "arms": ()}], ids=str)
def test_too_few_steps_or_arms_are_refused_and_leave_nothing(
    tmp_path: Path, settings: dict[str, Any]
):
    with pytest.raises(ConfigError, match="at least 4 steps and one arm"):
        run_demo(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------- arms and tables


@pytest.mark.parametrize("arm", DEMO_ARMS, ids=lambda arm: arm.name)
def test_every_arm_has_valid_settings_on_the_toy(tmp_path: Path, arm: Any):
    config = arm_config(arm, CONSTANTS_SUBJECT, seed=3, steps=40, folder=tmp_path)
    assert (config.max_steps, config.seed) == (40, 3)
    assert config.learning_rate == arm.learning_rate
    assert config.pool == str(tmp_path / "pool.db")
    assert config.guides == (arm in (PAPER, RECOMMENDED))


def result(arm: Any) -> ArmResult:
    point = Point(4, 1234, 2.6, zero_shot=0.125, with_memory=0.5, guided=1.0, right_family=None)
    return ArmResult(arm.name, arm.label, 0, {}, curve=[point])


def test_control_rows_stand_where_they_belong():
    rows = rows_of([result(arm) for arm in DEMO_ARMS])
    seeded, memory_only, grpo, grpo_with_pool, paper, recommended = rows
    assert seeded["arm"] == "seeded policy"
    assert (seeded["with memory"], seeded["tokens"]) == ("–", "–")
    assert memory_only["arm"] == MEMORY_ONLY.label
    assert grpo["with memory"] == "–"
    assert [*grpo_with_pool.values()][1:] == ["0.12", "0.50", "–", "1,234", "3"]
    assert (paper["arm"], recommended["arm"]) == (PAPER.label, RECOMMENDED.label)


def test_the_table_in_markdown():
    rows = [{"arm": "a", "zero-shot": "0.1"}, {"arm": "b", "zero-shot": "0.2"}]
    assert markdown(rows) == "| arm | zero-shot |\n| :-- | --: |\n| a | 0.1 |\n| b | 0.2 |\n"
    shown = table(rows, title="t")
    assert ([c.header for c in shown.columns], shown.row_count) == (["arm", "zero-shot"], 2)


def test_the_mean_of_a_logged_metric():
    logged = result(GRPO)
    logged.log = [{"step": n, "x": float(n)} for n in range(1, 5)] + [{"step": 5}]
    assert logged.mean("x") == 2.5
    assert logged.mean("x", first=2, last=3) == 2.5
    assert logged.mean("x", first=4) == 4.0
    assert logged.mean("y") is None


# ---------------------------------------------------------------------- the command


def lanpo_demo(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(sys, "argv", ["lanpo", "demo", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def check_report(out: str, folder: Path, labels: list[str]) -> None:
    for column in COLUMNS:
        assert column in out
    for label in labels:
        assert label in out
    pool = folder / "recommended" / "pool.db"
    assert f"learning curves  {folder / 'curves.png'}\n" in out
    assert f"all numbers      {folder / 'results.json'}\n" in out
    assert f"  lanpo pool stats --pool {pool}\n" in out
    query = make_hidden_constants(0).held_out[0].problem.text
    assert f'  lanpo pool search "{query}" --pool {pool}\n' in out
    assert "lanpo train --help" in out


def test_the_demo_command_prints_the_table_and_what_to_do_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(demo_module, "run_demo", partial(run_demo, arms=(GRPO, RECOMMENDED)))
    monkeypatch.setattr(demo_module, "DEMO_ARMS", (GRPO, RECOMMENDED))
    folder = tmp_path / "a folder [bold] with a long name that does not fit" / "a line"
    assert lanpo_demo(monkeypatch, "--steps", 4, "--out", folder) == 0
    out = capsys.readouterr().out
    check_report(out, folder, [GRPO.label, RECOMMENDED.label])
    assert "8/8" in out
    monkeypatch.setattr(
        sys, "argv", ["lanpo", "pool", "stats", "--pool", str(folder / "grpo" / "pool.db")]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code


@pytest.mark.slow
def test_the_demo_command_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert lanpo_demo(monkeypatch, "--steps", 4, "--out", tmp_path) == 0
    out = capsys.readouterr().out
    check_report(out, tmp_path, ["seeded policy", *(arm.label for arm in DEMO_ARMS)])


def test_the_command_refuses_fewer_than_four_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert lanpo_demo(monkeypatch, "--steps", 3, "--out", tmp_path / "out") == 2
    assert "greater than or equal to 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
