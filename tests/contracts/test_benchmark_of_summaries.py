"""The benchmark of summarizers counts every rollout and every receipt."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import summaries
from lanpo_memory.importers import GSM8K_POLICIES


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Thirty problems: ten all right, ten all wrong, ten mixed."""
    rows = []
    for i in range(30):
        rights = [i % 3 == 0 or (i % 3 == 2 and k == 1) for k in range(4)]
        rows.append(
            {
                "question": f"How many of the {i + 20} red apples are left in box {i}?",
                **{
                    policy: {
                        "is_correct": right,
                        "solution": f"I count the apples of try {k}.\nThen I take some.\nA: {i}",
                    }
                    for k, (policy, right) in enumerate(zip(GSM8K_POLICIES, rights, strict=True))
                },
            }
        )
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_every_admitted_rollout_or_group_has_its_receipt(file: Path):
    groups = summaries.groups_of(file)
    assert summaries.outcomes(groups) == {"all right": 10, "all wrong": 10, "mixed": 10}
    totals = {
        arm.name: summaries.run(arm, groups, batch=7).receipts.total() for arm in summaries.ARMS
    }
    assert totals == {
        "extractive, one right": 20,
        "extractive, right and wrong": 20,
        "model, one right": 20,
        "contrastive, right and wrong": 10,
    }


def test_the_scripts_shares_are_those_stated():
    asked = [
        [{"role": "user", "content": f"number {i} <attempt>I add.</attempt>"}] for i in range(3000)
    ]
    said = Counter(summaries.scripted(messages)[:11] for messages in asked)
    assert sum(share for share, _ in summaries.MIX.values()) == 100
    assert 1600 < said["The attempt"] < 2000


def test_it_prints_a_table(file: Path, capsys: pytest.CaptureFixture[str]):
    assert summaries.main([str(file), "--limit", "9"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("36 rollouts of 9 problems (3 all right, 3 all wrong, 3 mixed)")
    assert "| contrastive, right and wrong | 3 |" in printed
