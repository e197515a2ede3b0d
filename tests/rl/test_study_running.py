"""Running the jobs of a study: what is finished stays finished, whatever ends the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.study.jobs import Job
from lanpo_rl.study.running import Event, Outcome, run_jobs
from lanpo_rl.study.running.child import crash_of
from lanpo_rl.study.running.outcomes import found_result
from lanpo_rl.study.running.waiting import Budget
from tests.rl import toy_work
from tests.rl.toy_work import CrashOnce, job, quick

ROOT = Path(__file__).parents[2]


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.key: outcome.status for outcome in outcomes}


def result_file(folder: Path, key: str) -> Path:
    return folder / "runs" / key / "result.json"


# ---------------------------------------------------------------------- what a job leaves


def test_a_result_is_a_file_and_is_read_when_it_is_asked_for(tmp_path: Path):
    (outcome,) = run_jobs([job("part/a", quick, fingerprint="f")], tmp_path)
    assert (outcome.key, outcome.label, outcome.status) == ("part/a", "the part/a", "finished")
    content = json.loads(result_file(tmp_path, "part/a").read_text())
    assert content == {
        "key": "part/a",
        "fingerprint": "f",
        "seconds": outcome.seconds,
        "result": {"begun": 1, "left": ["log.txt"]},
    }
    assert outcome.result == content["result"]
    assert outcome.seconds > 0
    result_file(tmp_path, "part/a").unlink()
    with pytest.raises(InvalidInputError, match=r"part/a has no result: .* run it again"):
        _ = outcome.result


def test_what_a_job_prints_is_in_its_log_and_what_it_tells_arrives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    events: list[Event] = []
    run_jobs([job("a", toy_work.telling)], tmp_path, on_event=events.append)
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "runs/a/log.txt").read_text()
    assert log == "this is printed\nthis is a warning\n"
    assert [(e.kind, e.share, e.text) for e in events] == [
        ("begun", 0.0, ""),
        ("told", 0.25, "a quarter"),
        ("told", 1.0, "all"),
        ("ended", 1.0, ""),
    ]


def test_a_job_has_a_process_and_a_core_of_its_own_and_no_package_it_did_not_ask_for(
    tmp_path: Path,
):
    jobs = [job(key, toy_work.about_the_process) for key in "ab"]
    first, second = (outcome.result for outcome in run_jobs(jobs, tmp_path))
    assert len({first["pid"], second["pid"], os.getpid()}) == 3
    assert {**first, "pid": 0} == {
        "pid": 0,
        "threads": "1",
        "ignores_interrupts": True,
        "torch": False,
        "wave": False,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "as there are"),
    }


def in_a_fresh_python(folder: Path, code: str) -> str:
    """Run code in `folder`; Python has one fork server, and the tests before may have begun it."""
    setup = """
from pathlib import Path
from lanpo_rl.study.running import run_jobs
from tests.rl.toy_work import about_the_process, job
"""
    found = subprocess.run(
        [sys.executable, "-P", "-c", setup + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stderr == ""
    return found.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process is a new Python")
def test_what_jobs_name_is_imported_once_where_no_gpu_is_seen(tmp_path: Path):
    told = in_a_fresh_python(
        tmp_path,
        """
import json, os
environment = dict(os.environ)
kinds = {"a": ("wave",), "b": ("wave", "no_such_module"), "c": ()}
jobs = [job(key, about_the_process, imports=names) for key, names in kinds.items()]
results = [outcome.result for outcome in run_jobs(jobs, Path("out"))]
assert dict(os.environ) == environment
print(json.dumps([{"pid": os.getpid()}, *results]))
""",
    )
    parent, first, second, third = json.loads(told)
    assert len({process["pid"] for process in (parent, first, second, third)}) == 4
    assert {**first, "pid": second["pid"]} == second
    assert {**first, "pid": 0} == {
        "pid": 0,
        "threads": "1",
        "ignores_interrupts": True,
        "torch": False,
        "wave": True,
        "gpus": "",
    }
    assert not third["wave"]
    assert third["gpus"] == os.environ.get("CUDA_VISIBLE_DEVICES", "as there are")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process is a new Python")
def test_imports_come_from_where_this_process_has_them_and_not_from_the_current_folder(
    tmp_path: Path,
):
    (tmp_path / "wave.py").write_text("raise SystemExit('the wrong one')")
    told = in_a_fresh_python(
        tmp_path,
        """
[outcome] = run_jobs([job("a", about_the_process, imports=("wave",))], Path("out"))
print(outcome.status, outcome.result["wave"])
""",
    )
    assert told == "finished True\n"


@pytest.mark.parametrize("imports", [(), ("wave",)])
def test_either_kind_of_process_is_heard_to_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], imports: tuple[str, ...]
):
    jobs = [
        job("dies", toy_work.killed, imports=imports),
        job("ends", toy_work.exiting, imports=imports),
        job("tells", toy_work.telling, imports=imports),
    ]
    dies, ends, tells = run_jobs(jobs, tmp_path)
    assert dies.reason.startswith("killed by SIGKILL")
    assert "the last words" in dies.trace
    assert ends.reason == "ended with exit code 7 and without a result"
    assert tells.status == "finished"
    assert (tells.folder / "log.txt").read_text() == "this is printed\nthis is a warning\n"
    assert capfd.readouterr() == ("", "")


def test_a_folder_may_be_named_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (outcome,) = run_jobs([job("a", quick)], Path("here"))
    assert outcome.result["begun"] == 1
    assert result_file(tmp_path / "here", "a").exists()


# ---------------------------------------------------------------------- order


def test_a_job_begins_after_those_it_needs_and_the_others_in_their_order(tmp_path: Path):
    begun: list[str] = []
    running, most = 0, 0

    def on_event(event: Event) -> None:
        nonlocal running, most
        begun.extend([event.job.key] if event.kind == "begun" else [])
        running += {"begun": 1, "ended": -1}.get(event.kind, 0)
        most = max(most, running)
        if event.job.key == "late":
            assert result_file(tmp_path, "early").exists()

    keys = {"late": ("early",), "x": (), "early": (), "y": ()}
    jobs = [job(key, quick, *needs) for key, needs in keys.items()]
    outcomes = run_jobs(jobs, tmp_path, on_event=on_event)
    assert statuses(outcomes) == dict.fromkeys(keys, "finished")
    assert begun[:2] == ["x", "early"]
    assert (running, most) == (0, 2)  # as many as there are processes, and no more


def test_what_needs_a_crashed_job_is_not_run_and_says_so(tmp_path: Path):
    jobs = [
        job("c", quick, "b"),
        job("b", quick, "a"),
        job("a", toy_work.raising),
        job("other", quick),
    ]
    outcomes = {o.key: o for o in run_jobs(jobs, tmp_path)}
    assert outcomes["b"].reason == "needs a, which crashed"
    assert outcomes["c"].reason == "needs b, which was not run"
    assert outcomes["b"].status == outcomes["c"].status == "not_run"
    assert outcomes["other"].status == "finished"
    assert not (tmp_path / "runs/b").exists()


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([job("a", quick), job("a", quick)], "two jobs have the same key"),
        ([job("../a", quick)], "'../a' is no name for a folder"),
        ([job("", quick)], "'' is no name for a folder"),
        ([job("/a", quick)], "is no name for a folder"),
        ([job("a", quick), job("a/b", quick)], "'a/b' lies inside 'a'"),
        ([job("a", quick, "b")], "'a' needs 'b', which is no job"),
        ([job("a", quick, "b"), job("b", quick, "a")], "jobs need each other: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "jobs",
)
def test_jobs_that_cannot_all_be_run_are_refused(tmp_path: Path, jobs: list[Job], message: str):
    with pytest.raises(InvalidInputError, match=message.replace(".", r"\.")):
        run_jobs(jobs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_process_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInputError, match="processes must be 1 or more, got 0"):
        run_jobs([job("a", quick)], tmp_path, processes=0)


# ---------------------------------------------------------------------- once is enough


def test_a_finished_job_is_not_run_again_unless_it_is_another(tmp_path: Path):
    run_jobs([job("a", quick), job("b", quick)], tmp_path)
    events: list[Event] = []
    again = run_jobs(
        [job("a", quick), job("b", quick, fingerprint="2")], tmp_path, on_event=events.append
    )
    assert [outcome.result["begun"] for outcome in again] == [1, 2]
    assert [(e.kind, e.job.key) for e in events] == [
        ("found", "a"),
        ("begun", "b"),
        ("ended", "b"),
    ]
    assert again[0].seconds > 0


@pytest.mark.parametrize("left", ["", "{", "[]", '{"key": "a", "fingerprint": "1"}'])
def test_what_is_no_result_does_not_count(tmp_path: Path, left: str):
    path = result_file(tmp_path, "a")
    path.parent.mkdir(parents=True)
    path.write_text(left)
    assert found_result(tmp_path, job("a", quick)) is None


def test_a_crashed_job_is_tried_again_from_an_empty_folder(tmp_path: Path):
    jobs = [job("a", CrashOnce())]
    assert statuses(run_jobs(jobs, tmp_path)) == {"a": "crashed"}
    assert (tmp_path / "runs/a/half").exists()
    (outcome,) = run_jobs(jobs, tmp_path)
    assert outcome.result == {"begun": 2, "half": False}
    assert not (tmp_path / "runs/a/error.txt").exists()


# ---------------------------------------------------------------------- crashes


def test_crashes_are_recorded_and_the_others_go_on(tmp_path: Path):
    crashing = {
        "raising": toy_work.raising,
        "killed": toy_work.killed,
        "exiting": toy_work.exiting,
        "not_json": toy_work.not_json,
        "lambda": lambda folder, tell: {},
    }
    jobs = [*(job(key, work) for key, work in crashing.items()), job("last", quick)]
    outcomes = {o.key: o for o in run_jobs(jobs, tmp_path)}
    assert [outcomes[key].status for key in crashing] == ["crashed"] * 5
    assert outcomes["last"].status == "finished"
    reasons = {key: outcomes[key].reason for key in crashing}
    assert reasons["raising"] == "ValueError: the loss is"
    assert reasons["killed"] == "killed by SIGKILL; perhaps there was not enough memory"
    assert reasons["exiting"] == "ended with exit code 7 and without a result"
    assert "is not JSON serializable" in reasons["not_json"]
    assert "lambda" in reasons["lambda"]
    for key in crashing:
        assert (tmp_path / "runs" / key / "error.txt").read_text() == outcomes[key].trace
        with pytest.raises(InvalidInputError, match=f"{key} has no result: "):
            _ = outcomes[key].result
    assert "in raising\n    raise ValueError" in outcomes["raising"].trace
    assert outcomes["killed"].trace == f"the last words\n{reasons['killed']}\n"


def test_on_a_full_disk_what_is_finished_stays_and_the_others_go_on(tmp_path: Path):
    jobs = [job("before", quick), job("full", toy_work.filling), job("after", quick)]
    outcomes = run_jobs(jobs, tmp_path, processes=1)
    assert statuses(outcomes) == {"before": "finished", "full": "crashed", "after": "finished"}
    assert outcomes[1].reason == "no space left on the disk"
    assert sorted(p.name for p in (tmp_path / "runs/full").iterdir()) == ["error.txt", "log.txt"]
    assert [o.result["begun"] for o in outcomes if o.status == "finished"] == [1, 1]


@pytest.mark.parametrize(
    "text", ["database or disk is full", "I/O error: No space left on device (os error 28)"]
)
def test_a_full_disk_is_recognised_behind_errors_of_libraries(text: str):
    error = RuntimeError("cannot save")
    error.__cause__ = ValueError(text)
    assert crash_of(error).reason == "no space left on the disk"
    assert crash_of(RuntimeError("cannot save")).reason == "RuntimeError: cannot save"


# ---------------------------------------------------------------------- the budget


def test_without_time_no_job_begins_and_what_is_finished_counts(tmp_path: Path):
    run_jobs([job("a", quick)], tmp_path)
    outcomes = run_jobs([job(key, quick) for key in "abc"], tmp_path, budget_s=0.0)
    assert statuses(outcomes) == {"a": "finished", "b": "not_run", "c": "not_run"}
    assert {o.reason for o in outcomes[1:]} == {"the budget was used up"}
    assert not (tmp_path / "runs/b").exists()


def test_a_job_that_runs_when_the_budget_ends_is_finished(tmp_path: Path):
    work = partial(toy_work.sleeping, seconds=0.5)
    outcomes = run_jobs(
        [job(key, work) for key in "ab"], tmp_path, processes=1, budget_s=0.5, expected_s=0.1
    )
    assert statuses(outcomes) == {"a": "finished", "b": "not_run"}


def test_a_job_expected_to_take_longer_than_is_left_does_not_begin(tmp_path: Path):
    (outcome,) = run_jobs([job("a", quick)], tmp_path, budget_s=60.0, expected_s=100.0)
    assert outcome.reason == "not within the budget: it takes about 100 s, 60 s are left"


def test_what_a_job_takes_is_the_median_of_those_of_its_kind():
    run, policy = job("run", quick), job("policy", quick, result=False)
    budget = Budget(60.0, expected_s=30.0)
    assert budget.refusal(run) is None
    for seconds in (10.0, 80.0, 90.0):
        budget.add(run, seconds)
    assert budget.refusal(run) == "not within the budget: it takes about 80 s, 60 s are left"
    assert budget.refusal(policy) is None
    assert Budget(None, expected_s=1e9).refusal(run) is None
