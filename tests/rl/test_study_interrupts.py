"""Ctrl-C, kill -9, and whose a study's folder is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_rl.study.running import STOPPED, Event, Outcome, claimed, run_jobs
from tests.rl import toy_work
from tests.rl.toy_work import job, quick

ROOT = Path(__file__).parents[2]


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.key: outcome.status for outcome in outcomes}


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked about yet is a zombie."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True


# ---------------------------------------------------------------------- folders


def refusal(folder: Path, study: str = "quick") -> str:
    with pytest.raises(ConfigError) as refused, claimed(folder, study):
        raise AssertionError("the folder was given away")
    message = str(refused.value)
    assert "\n" not in message
    assert "--out" in message
    return message


def test_a_folder_stays_that_of_its_study(tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        with claimed(folder, "quick"):
            assert json.loads((folder / "study.json").read_text()) == {
                "study": "quick",
                "schema": 1,
            }
    assert "holds the study 'quick', not 'paper'" in refusal(folder, "paper")


def test_an_empty_folder_is_taken_and_one_with_something_else_is_not(tmp_path: Path):
    with claimed(tmp_path, "quick"):
        pass
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    assert "is not empty and holds no study" in refusal(other)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "study.json cannot be read"),
        ('["quick"]', "study.json cannot be read"),
        ('{"study": "quick", "schema": 2}', "another version of lanpo (schema 2, here 1)"),
    ],
)
def test_a_folder_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "study.json").write_text(text)
    assert message in refusal(tmp_path)
    assert (tmp_path / "study.json").read_text() == text


def test_a_file_is_no_folder(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file" in refusal(file)
    assert "cannot have the folder" in refusal(file / "below")
    assert file.read_text() == "mine"


def test_a_folder_is_for_one_at_a_time(tmp_path: Path):
    with claimed(tmp_path, "quick"):
        assert "another command is running a study" in refusal(tmp_path)
    with claimed(tmp_path, "quick"):
        pass


# ---------------------------------------------------------------------- Ctrl-C and kill -9


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs four jobs in `tmp_path`: one is finished, two are asleep, one waits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rl.toy_work", tmp_path / "out"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert said(process.stdout) == "asleep\n"
        yield process
        process.kill()


def said(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def pids(folder: Path) -> list[int]:
    return [int((folder / "runs" / key / "pid").read_text()) for key in "bc"]


def resumed(folder: Path) -> list[int]:
    """Run the same jobs, which take no time now, and say how often each was begun in all."""
    with claimed(folder, "slow"):
        outcomes = run_jobs(toy_work.slow_jobs(0.0), folder)
    return [outcome.result["begun"] for outcome in outcomes]


def test_ctrl_c_ends_what_runs_and_keeps_what_is_finished(
    tmp_path: Path, slow: subprocess.Popen[str]
):
    folder = tmp_path / "out"
    asleep = pids(folder)
    os.killpg(slow.pid, signal.SIGINT)  # as a terminal does: to the children as well
    assert slow.communicate(timeout=20) == ("a:finished b:not_run c:not_run d:not_run\n", "")
    assert slow.returncode == 0
    assert all(gone(pid) for pid in asleep)
    assert sorted(p.name for p in (folder / "runs").iterdir()) == ["a"]
    assert resumed(folder) == [1, 2, 2, 1]


def test_no_process_outlives_a_parent_that_was_killed(tmp_path: Path, slow: subprocess.Popen[str]):
    folder = tmp_path / "out"
    asleep = pids(folder)
    assert "another command is running a study" in refusal(folder, "slow")
    slow.kill()
    slow.wait()
    with claimed(folder, "slow"):
        pass
    deadline = time.monotonic() + 20
    while not all(gone(pid) for pid in asleep) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in asleep)
    assert (folder / "runs/b").exists()  # nobody was left to remove it, and it does not count
    assert resumed(folder) == [1, 2, 2, 1]


def test_an_interrupt_from_a_callback_ends_the_same_way(tmp_path: Path):
    def interrupt(event: Event) -> None:
        if event.kind == "told":
            raise KeyboardInterrupt

    outcomes = run_jobs(toy_work.slow_jobs(60.0), tmp_path, on_event=interrupt)
    assert {o.reason for o in outcomes if o.status == "not_run"} == {STOPPED}
    assert statuses(outcomes)["d"] == "not_run"
    assert multiprocessing.active_children() == []


def test_an_error_of_a_callback_leaves_no_process_and_no_half_run(tmp_path: Path):
    def fail(event: Event) -> None:
        if event.kind == "told":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_jobs(toy_work.slow_jobs(60.0)[1:], tmp_path, on_event=fail)
    assert multiprocessing.active_children() == []
    assert [*(tmp_path / "runs").iterdir()] == []


def test_the_handler_of_ctrl_c_is_put_back_and_other_threads_may_run_jobs(tmp_path: Path):
    before = signal.getsignal(signal.SIGINT)
    run_jobs([job("a", quick)], tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.extend(run_jobs([job("b", quick)], tmp_path)))
    thread.start()
    thread.join()
    assert statuses(found) == {"b": "finished"}
