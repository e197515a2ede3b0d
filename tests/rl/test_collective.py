"""How a run is left: in one process as ever, in a group on CPUs without taking Python down."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from lanpo_rl.collective import leave

_IN_A_GROUP = """
import atexit
from types import SimpleNamespace
from lanpo_rl.collective import leave

class Stubborn:
    def __del__(self):
        print("taken down")

atexit.register(print, "exit functions")
kept = Stubborn()
leave(SimpleNamespace(
    num_processes=2,
    device=SimpleNamespace(type="cpu"),
    end_training=lambda: print("trackers end"),
))
print("still here")
"""


def accelerator(ended: list[str], processes: int, device: str) -> Any:
    return SimpleNamespace(
        num_processes=processes,
        device=SimpleNamespace(type=device),
        end_training=lambda: ended.append(device),
    )


def test_one_process_and_those_on_gpus_go_on():
    ended: list[str] = []
    leave(accelerator(ended, 1, "cpu"))
    leave(accelerator(ended, 2, "cuda"))
    assert ended == ["cpu", "cuda"]


def test_a_process_of_a_group_on_cpus_ends_here_with_its_exit_functions_and_code_0():
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_GROUP],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["trackers end", "exit functions", ""]
