"""Two processes on one CPU: one memory, one guidance, one policy; and nobody waits for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Ranks = tuple[dict[str, Any], dict[str, Any]]


def train(folder: Path, **settings: Any) -> Ranks:
    folder.mkdir(exist_ok=True)
    script = Path(__file__).with_name("two_ranks.py")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(script), str(folder), json.dumps(settings)),
    ]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((folder / f"rank{r}.json").read_text()) for r in (0, 1))
    assert_agreed(one, two)
    return one, two


def assert_agreed(one: dict[str, Any], two: dict[str, Any]) -> None:
    for name in ("guidance", "texts", "guided", "looked_at"):
        assert [s[name] for s in one["seen"]] == [s[name] for s in two["seen"]], name
    assert one["weights"] == two["weights"], "the ranks have drifted apart"
    assert one["calls"] == two["calls"], "the ranks counted other calls"
    assert two["pool"] is None


@pytest.mark.slow
def test_two_ranks_train_under_the_same_guidance_and_only_rank_0_holds_the_pool(tmp_path: Path):
    one, two = train(tmp_path)
    assert one["pool"]["experiences"] > 0
    guided = 0
    for a, b in zip(one["seen"], two["seen"], strict=True):
        flat = [g for group in a["guided"] for g in group]
        assert (a["own"], b["own"]) == ([0, 12], [12, 24])
        for prompt, is_guided in zip(a["prompts"] + b["prompts"], flat, strict=True):
            assert prompt.startswith("hint ") is is_guided
            guided += is_guided
        assert len({p.partition("|")[2] or p for p in a["prompts"][8:] + b["prompts"][:4]}) == 1
    assert guided > 0


@pytest.mark.slow
def test_one_rank_may_have_nothing_to_distil_and_both_nothing_to_summarise(tmp_path: Path):
    one, two = train(
        tmp_path / "half", reward="only_rank_0", per_device_train_batch_size=8, max_steps=8
    )
    assert sum(one["distilled"]) > 0
    assert sum(two["distilled"]) == 0
    assert len(one["entropy"]) == 8, "TRL's figures were logged once a step"
    one, _ = train(tmp_path / "none", reward="nothing", max_steps=3)
    assert one["pool"]["experiences"] == 0
    assert one["calls"] == 0


@pytest.mark.slow
def test_a_gate_and_a_frozen_summarizer_on_two_ranks_and_resuming_there(tmp_path: Path):
    gated = {
        "mode": "both",
        "gate": "all_wrong",
        "reflect_on_right": 0.5,
        "per_device_train_batch_size": 8,
        "summarizer_weights": "frozen",
        "canary_every": 1,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    whole, _ = train(tmp_path / "run", **gated)
    assert any(s["looked_at"] for s in whole["seen"])
    checkpoint = str(tmp_path / "run" / "out" / "checkpoint-3")
    resumed, _ = train(tmp_path / "run", **gated, resume=checkpoint)
    assert resumed["digest"] == whole["digest"]
    assert [s["texts"] for s in resumed["seen"]] == [s["texts"] for s in whole["seen"][3:]]
    assert resumed["weights"] == whole["weights"]
    assert (tmp_path / "run" / "out" / "rewound-3.jsonl").is_file()
