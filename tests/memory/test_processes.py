"""What the file keeps when processes die or write at the same time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lanpo_memory import Problem, open_pool

WRITER = """
import sys
from lanpo_memory import *
with open_pool(sys.argv[1]) as pool:
    for batch in range(10_000):
        lessons = [
            Experience(problem=Problem(text=f"batch {batch} number {i}"), thoughts="t" * 500)
            for i in range(20)
        ]
        receipts = pool.add(lessons)
        assert {r.status for r in receipts} == {"added"}
        print(batch, flush=True)
"""

SAME = """
import sys
from lanpo_memory import *
with open_pool(sys.argv[1]) as pool:
    for start in range(0, 200, 10):
        lessons = [
            Experience(problem=Problem(text=f"shared {i}"), thoughts="t")
            for i in range(start, start + 10)
        ]
        print(*(r.status for r in pool.add(lessons)), flush=True)
"""


@pytest.mark.slow
def test_an_acknowledged_write_survives_kill_9(tmp_path: Path):
    for trial in range(8):
        path = tmp_path / f"{trial}.db"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(3)]
            time.sleep(0.02 * trial)  # somewhere within a later batch
            writer.kill()
            acknowledged += [int(line) for line in writer.stdout.read().split()]
        with open_pool(path) as pool:
            found = Counter(int(p.text.split()[1]) for p in pool.store.read("problem"))
            assert set(acknowledged) <= set(found), "an acknowledged batch is gone"
            assert set(found.values()) == {20}, "half a batch was written"
            assert len(found) <= len(acknowledged) + 1
            last = max(found)
            hits = pool.retrieve([Problem(text=f"batch {last} number 7")])[0]
            assert hits[0].experience.problem.text == f"batch {last} number 7"


@pytest.mark.slow
def test_processes_that_add_the_same_leave_each_once_and_their_receipts_add_up(tmp_path: Path):
    path = tmp_path / "pool.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", SAME, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    receipts = Counter(word for w in writers for word in w.communicate(timeout=120)[0].split())
    assert [w.returncode for w in writers] == [0] * 4
    assert receipts == {"added": 200, "duplicate": 600}
    with open_pool(path) as pool:
        assert len(pool) == 200
