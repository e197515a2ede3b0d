"""The benchmark runs, offline and small, and says so when a figure was not judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_quick_benchmark_writes_its_report(tmp_path: Path):
    published = ROOT / "benchmarks" / "RESULTS.md"
    before = published.read_bytes() if published.exists() else None
    command = ["-m", "benchmarks", "--quick", "--no-peers", "--out", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, *command, "--work", str(tmp_path / "work")],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    report = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    for heading in ("one query, p50", "bm25s", "import"):
        assert heading in report
    suites = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["suites"]
    assert {"pool", "bm25", "imports"} <= suites.keys()
    assert suites["bm25"]["rows"][0]["scores"]["best_scores"] <= 1e-5
    assert suites["imports"]["optional"] == []
    after = published.read_bytes() if published.exists() else None
    assert after == before, "a quick run leaves the published figures alone"
