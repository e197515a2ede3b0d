"""Work of jobs for test_study_running: the processes that do it import this module and no more.

Run as a program, it is a study of four slow jobs that may be interrupted or killed.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lanpo_rl.study.jobs import Job, Tell, Work
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.study.running import Event, claimed, run_jobs


def count(folder: Path) -> int:
    """How often the job of a folder was begun, this time included; kept beside the runs."""
    root = next(parent.parent for parent in folder.parents if parent.name == "runs")
    counter = root / f"begun-{'-'.join(folder.relative_to(root / 'runs').parts)}"
    with counter.open("a") as file:
        file.write("x")
    return counter.stat().st_size


def quick(folder: Path, tell: Tell) -> Mapping[str, Any]:
    return {"begun": count(folder), "left": sorted(path.name for path in folder.iterdir())}


def telling(folder: Path, tell: Tell) -> Mapping[str, Any]:
    print("this is printed")
    print("this is a warning", file=sys.stderr)
    tell(0.25, "a quarter")
    tell(1.0, "all")
    return {}


def about_the_process(folder: Path, tell: Tell) -> Mapping[str, Any]:
    return {
        "pid": os.getpid(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "ignores_interrupts": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "torch": "torch" in sys.modules,
        "wave": "wave" in sys.modules,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "as there are"),
    }


def raising(folder: Path, tell: Tell) -> Mapping[str, Any]:
    count(folder)
    raise ValueError("the loss is\nnot a number")


def killed(folder: Path, tell: Tell) -> Mapping[str, Any]:
    print("the last words")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def exiting(folder: Path, tell: Tell) -> Mapping[str, Any]:
    os._exit(7)


def not_json(folder: Path, tell: Tell) -> Mapping[str, Any]:
    return {"folder": folder}


@dataclass(frozen=True)
class CrashOnce:
    """Work that leaves something behind and crashes when it is done for the first time."""

    def __call__(self, folder: Path, tell: Tell) -> Mapping[str, Any]:
        begun = count(folder)
        if begun == 1:
            (folder / "half").write_text("of it")
            raise RuntimeError("not yet")
        return {"begun": begun, "half": (folder / "half").exists()}


def filling(folder: Path, tell: Tell) -> Mapping[str, Any]:
    """Return more than this process may write to one file: for it the disk is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return {"text": "x" * 10_000}


def sleeping(folder: Path, tell: Tell, *, seconds: float) -> Mapping[str, Any]:
    begun = count(folder)
    (folder / "pid").write_text(str(os.getpid()))
    tell(0.5, "sleeps")
    time.sleep(seconds)
    return {"begun": begun}


@dataclass(frozen=True)
class Measured:
    """A run of a study that takes no time; `then` may hold it up or make it crash."""

    arm: str
    seed: int
    then: Work | None = None

    def __call__(self, folder: Path, tell: Tell) -> Mapping[str, Any]:
        if self.then is not None:
            self.then(folder, tell)
        curve = [Point(0, 0, 0.0, 0.1, 0.2, 0.0, None), Point(50, 9_000, 60.0, 0.6, 0.8, 1.0, 0.9)]
        return ArmResult(self.arm, self.arm.upper(), self.seed, {}, curve).as_json()


def job(
    key: str,
    work: Work,
    *needs: str,
    fingerprint: str = "1",
    result: bool = True,
    imports: tuple[str, ...] = (),
) -> Job:
    return Job(key, f"the {key}", work, fingerprint, needs, result, imports)


def slow_jobs(seconds: float) -> list[Job]:
    """One that ends at once, then three that do not, of both kinds of processes."""
    imports = {"b": (), "c": ("wave",), "d": ("wave",)}
    sleepers = (
        job(key, partial(sleeping, seconds=seconds), imports=names)
        for key, names in imports.items()
    )
    return [job("a", quick), *sleepers]


def main(folder: Path) -> None:
    """Run the slow jobs, say so when two of them sleep, and in the end what became of each."""
    asleep: set[str] = set()

    def on_event(event: Event) -> None:
        if event.kind == "told":
            asleep.add(event.job.key)
            if len(asleep) == 2:
                print("asleep", flush=True)

    with claimed(folder, "slow"):
        outcomes = run_jobs(slow_jobs(60.0), folder, on_event=on_event)
    print(*(f"{outcome.key}:{outcome.status}" for outcome in outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
