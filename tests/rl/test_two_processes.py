from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_ranks_train_under_the_same_guidance_and_only_rank_0_holds_the_pool(tmp_path: Path):
    script = Path(__file__).with_name("two_ranks.py")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(script), str(tmp_path)),
    ]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1))
    assert [s["guidance"] for s in one["seen"]] == [s["guidance"] for s in two["seen"]]
    assert [s["guided"] for s in one["seen"]] == [s["guided"] for s in two["seen"]]
    assert one["weights"] == two["weights"], "the ranks have drifted apart"
    assert one["pool"]["experiences"] > 0
    assert two["pool"] is None
    guided = 0
    for a, b in zip(one["seen"], two["seen"], strict=True):
        flat = [g for group in a["guided"] for g in group]
        assert (a["own"], b["own"]) == ([0, 12], [12, 24])
        for prompt, is_guided in zip(a["prompts"] + b["prompts"], flat, strict=True):
            assert prompt.startswith("hint ") is is_guided
            guided += is_guided
        assert len({p.partition("|")[2] or p for p in a["prompts"][8:] + b["prompts"][:4]}) == 1
    assert guided > 0
