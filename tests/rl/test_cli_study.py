"""`lanpo study` on toy runs: what it says, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lanpo_rl.study import planning, report, studies
from lanpo_rl.study.arms import GRPO, MEMORY_ONLY, RECOMMENDED
from lanpo_rl.study.jobs import Job, Work
from lanpo_rl.study.report import StudyReport
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import CONSTANTS_SUBJECT
from tests.rl import toy_work
from tests.rl.commands import Lanpo, Ran
from tests.rl.toy_work import Measured

TOY = Study(
    "toy",
    "Does anything help?",
    (Part(CONSTANTS_SUBJECT, (MEMORY_ONLY, GRPO, RECOMMENDED)),),
    seeds=2,
    minutes=10,
)
OTHER = Study("other", "And now?", (Part(CONSTANTS_SUBJECT, (GRPO,)),), seeds=1, minutes=60)
MORE = "give more, or leave it out"
Holds = dict[str, Work]


@pytest.fixture(autouse=True)
def holds(monkeypatch: pytest.MonkeyPatch) -> Holds:
    """Studies of runs that take no time; by key, what holds one up or makes it crash."""
    held: Holds = {}
    real = planning.plan

    def plan(
        study: Study,
        *,
        seeds: int,
        arms: Sequence[str] | None,
        subjects: Sequence[str] | None,
    ) -> list[Job]:
        return [
            replace(job, work=Measured(arm, int(seed.split("-")[1]), held.get(job.key)))
            for job in real(study, seeds=seeds, arms=arms, subjects=subjects)
            for _, arm, seed in [job.key.split("/")]
        ]

    monkeypatch.setattr(planning, "plan", plan)
    monkeypatch.setattr(studies, "STUDIES", (TOY, OTHER))
    return held


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[report.Findings]:
    """Reports without pictures and tables, which take their time; what they are made from."""
    found: list[report.Findings] = []

    def write(folder: Path, findings: report.Findings) -> StudyReport:
        found.append(findings)
        text = f"{findings.finished} finished\n"
        (folder / "report.md").write_text(text)
        (folder / "report.html").write_text(text)
        (folder / "results.json").write_text("{}")
        paths = [folder / name for name in ("report.md", "report.html", "results.json")]
        return StudyReport(*paths, pictures=(), headline={})

    monkeypatch.setattr(report, "write_report", write)
    return found


def lines_of(ran: Ran) -> list[str]:
    assert ran.err == ""
    return ran.out.splitlines()


# ---------------------------------------------------------------------- a study that goes well


def test_a_study_is_run_reported_and_not_run_again(lanpo: Lanpo, tmp_path: Path):
    out = tmp_path / "out"
    arguments = ("study", "toy", "--arms", "grpo, recommended", "--seeds", "1", "--out", out)
    ran = lanpo(*arguments)
    assert ran.code == 0
    lines = lines_of(ran)
    assert lines[:2] == [
        "loading torch, transformers and TRL ...",
        f"study toy: 2 runs in {out}",
    ]
    assert sorted(re.sub(r"\d/2 |\d+ s.*", "", line) for line in lines[2:4]) == [
        "constants, GRPO, seed 0: finished in ",
        "constants, LANPO recommended, seed 0: finished in ",
    ]
    assert lines[4] == "2 of 2 runs finished"
    assert lines[-3:] == [
        f"report       {out / 'report.md'}",
        f"as a page    {out / 'report.html'}",
        f"all numbers  {out / 'results.json'}",
    ]
    assert "hidden constants" in [line.strip() for line in lines]
    assert re.search(r"^arm +seeds", ran.out, re.M)
    assert json.loads((out / "study.json").read_text())["study"] == "toy"
    for name in ("report.md", "report.html", "results.json"):
        assert (out / name).stat().st_size > 100
    again = lanpo(*arguments)
    assert again.code == 0
    assert lines_of(again)[2] == "2 of 2 runs finished"


def test_more_seeds_and_arms_come_on_top_and_the_report_is_about_those_asked_for(
    lanpo: Lanpo, tmp_path: Path, plain: list[report.Findings], holds: Holds
):
    out = tmp_path / "out"
    assert lanpo("study", "toy", "--seeds", "1", "--arms", "grpo", "--out", out).code == 0
    holds["constants/grpo/seed-0"] = toy_work.raising  # which it would, were it run again
    assert lanpo("study", "toy", "--out", out).code == 0
    first, both = plain
    assert ([*first.only], first.seeds) == (["grpo"], 1)
    assert [(run.arm, run.seed) for run in first.runs["constants"]] == [("grpo", 0)]
    assert ([*both.only], both.seeds) == ([], 2)
    assert {(run.arm, run.seed) for run in both.runs["constants"]} == {
        (arm, seed) for arm in TOY.arms for seed in (0, 1)
    }
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", both.date)


def test_policies_that_are_made_first_are_no_runs(
    lanpo: Lanpo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: list[report.Findings],
):
    real = planning.plan

    def with_a_policy(study: Study, **chosen: Any) -> list[Job]:
        first = Job("policies/mini", "policy mini", work=toy_work.quick, result=False)
        return [first, *real(study, **chosen)]

    monkeypatch.setattr(planning, "plan", with_a_policy)
    out = tmp_path / "out"
    ran = lanpo("study", "toy", "--seeds", "1", "--arms", "grpo", "--out", out)
    assert ran.code == 0
    lines = lines_of(ran)
    assert lines[1] == f"study toy: 1 run, and 1 policy to begin with in {out}"
    assert "1 of 1 run finished" in lines


def test_the_folder_is_named_after_the_study(
    lanpo: Lanpo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: list[report.Findings],
):
    monkeypatch.chdir(tmp_path)
    assert lanpo("study", "other").code == 0
    assert (tmp_path / "runs/study-other/runs/constants/grpo/seed-0/result.json").exists()
    assert len(plain) == 1


def test_the_list_says_what_each_study_asks_and_takes(lanpo: Lanpo):
    ran = lanpo("study", "--list")
    assert ran.code == 0
    assert lines_of(ran)[1:] == [
        "",
        "toy: Does anything help?",
        "  constants: memory_only, grpo, recommended",
        "  2 seeds, 6 runs, about 10 min on two cores",
        "",
        "other: And now?",
        "  constants: grpo",
        "  1 seed, 1 run, about 1 h 00 min on two cores",
    ]


# ---------------------------------------------------------------------- one that does not


def test_a_crash_is_told_and_reported_and_the_same_command_goes_on(
    lanpo: Lanpo, tmp_path: Path, plain: list[report.Findings], holds: Holds
):
    holds["constants/grpo/seed-0"] = toy_work.raising
    arguments = ("study", "toy", "--seeds", "1", "--out", tmp_path / "out")
    ran = lanpo(*arguments)
    assert ran.code == 1
    error = tmp_path / "out/runs/constants/grpo/seed-0/error.txt"
    assert lines_of(ran)[-6:-4] == [
        f"constants, GRPO, seed 0 crashed: ValueError: the loss is; see {error}",
        "the same command goes on from here",
    ]
    (failed,) = plain[0].failed
    assert (failed.key, failed.traceback) == ("constants/grpo/seed-0", error.read_text())
    assert (plain[0].finished, len(plain[0].not_run)) == (2, 0)
    holds.clear()
    assert lanpo(*arguments).code == 0
    assert (plain[1].finished, len(plain[1].failed)) == (3, 0)


def test_what_the_budget_has_no_room_for_is_not_begun(
    lanpo: Lanpo,
    tmp_path: Path,
    plain: list[report.Findings],
    holds: Holds,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(studies, "STUDIES", (replace(TOY, minutes=0.02),))
    holds["constants/memory_only/seed-0"] = partial(toy_work.sleeping, seconds=1.0)
    once = ("--budget", "0.015", "--processes", "1")
    ran = lanpo("study", "toy", *once, "--out", tmp_path / "out")
    assert ran.code == 1
    (findings,) = plain
    assert findings.finished == 1
    assert [item.reason for item in findings.not_run] == ["the budget was used up"] * 5
    assert lines_of(ran)[3:6] == [
        "1 of 6 runs finished",
        "5 runs not done: the budget was used up",
        "the same command goes on from here",
    ]


def test_ctrl_c_ends_it_with_a_report_and_the_same_command_goes_on(
    lanpo: Lanpo, tmp_path: Path, plain: list[report.Findings], holds: Holds
):
    out = tmp_path / "out"
    holds["constants/recommended/seed-0"] = partial(toy_work.sleeping, seconds=60.0)
    asleep = out / "runs/constants/recommended/seed-0/pid"
    ran = interrupted(asleep.exists, partial(lanpo, "study", "toy", "--seeds", "1", "--out", out))
    assert ran.code == 130
    assert "1 run not done: stopped before it was finished" in lines_of(ran)
    assert "the same command goes on from here" in lines_of(ran)
    assert (out / "report.md").read_text() == "2 finished\n"
    assert not asleep.parent.exists()
    holds.clear()
    assert lanpo("study", "toy", "--seeds", "1", "--out", out).code == 0
    assert (out / "report.md").read_text() == "3 finished\n"


def interrupted(when: Callable[[], bool], run: Callable[[], Ran]) -> Ran:
    """Run a command and send it Ctrl-C at some time."""

    def send() -> None:
        deadline = time.monotonic() + 30
        while not when() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    ran = run()
    thread.join()
    return ran


def test_ctrl_c_while_the_report_is_written_ends_it_too(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def write(folder: Path, findings: report.Findings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_report", write)
    ran = lanpo("study", "other", "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (130, "")


def test_a_report_that_cannot_be_written_is_one_line(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def write(folder: Path, findings: report.Findings) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_report", write)
    ran = lanpo("study", "other", "--out", tmp_path / "out")
    assert ran.code == 2
    assert ran.err == (
        "error: cannot write the report: No space left on device; the runs are kept: make room and "
        "give the same command again\n"
    )
    assert (tmp_path / "out/runs/constants/grpo/seed-0/result.json").exists()


def test_a_run_of_another_version_is_named(
    lanpo: Lanpo, tmp_path: Path, plain: list[report.Findings]
):
    arguments = ("study", "other", "--out", tmp_path / "out")
    lanpo(*arguments)
    file = tmp_path / "out/runs/constants/grpo/seed-0/result.json"
    content = json.loads(file.read_text())
    del content["result"]["curve"]
    file.write_text(json.dumps(content))
    ran = lanpo(*arguments)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {file.parent} holds a run of another version of lanpo; ")


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a study, such as quick; lanpo study --list says which there are"),
        (["nope"], "there is no study 'nope'; there are toy, other"),
        (
            ["toy", "--arms", "grpo,nope"],
            "toy has no arm 'nope'; there are memory_only, grpo, recommended",
        ),
        (
            ["toy", "--subjects", "nope"],
            "toy has no subject 'nope'; there are constants",
        ),
        (["toy", "--model", "mine"], "--model and --data belong together: give both, or none"),
        (["toy", "--data", "x.jsonl"], "--model and --data belong together: give both, or none"),
        (
            ["toy", "--learning-rate", "1e-6"],
            "--learning-rate is for --model and --data; give them, too",
        ),
        (
            ["toy", "--problem-column", "question"],
            "--problem-column is for --model and --data; give them, too",
        ),
        (
            ["toy", "--model", "mine", "--data", "none.jsonl"],
            "there is no file or folder none.jsonl; check the path",
        ),
        (["toy", "--seeds", "0"], "--seeds must be 1 or more, got 0"),
        (["toy", "--processes", "0"], "--processes must be 1 or more, got 0"),
        (["toy", "--budget", "0"], "--budget must be more than 0 minutes, got 0"),
        (["toy", "--budget", "nan"], "--budget must be more than 0 minutes, got nan"),
        (
            ["toy", "--budget", "1"],
            "--budget 1 is not enough for one run: the shortest takes about 1.5 minutes; " + MORE,
        ),
        (
            ["toy", "--budget", "3", "--arms", "grpo"],
            "--budget 3 is not enough for one run: the shortest takes about 4.2 minutes; " + MORE,
        ),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_leaves_nothing(
    lanpo: Lanpo, tmp_path: Path, arguments: Sequence[str], message: str
):
    ran = lanpo("study", *arguments, "--out", tmp_path / "out")
    assert (ran.code, ran.err) == (2, f"error: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"study.json": '{"study": "other", "schema": 1}'}, "holds the study 'other', not 'toy'"),
        ({"thesis.tex": ""}, "is not empty and holds no study"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    lanpo: Lanpo, tmp_path: Path, there: Mapping[str, str], message: str
):
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    ran = lanpo("study", "toy", "--out", tmp_path)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {tmp_path} {message}")
    assert "--out" in line
    assert [path.name for path in tmp_path.iterdir()] == [*there]


def test_a_file_is_no_folder_for_a_study(lanpo: Lanpo, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    ran = lanpo("study", "toy", "--out", file)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"error: {file} is a file" in ran.err
