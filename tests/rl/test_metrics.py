"""What is logged of a step: computed by hand on small batches, and complete on real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch

from lanpo_memory import EnglishPrompts
from lanpo_memory.types import Guidance, Observation, RetrievalFigures
from lanpo_rl.clock import STAGES, StageClock
from lanpo_rl.metrics import (
    entropy_metrics,
    flip_metrics,
    memory_metrics,
    reward_metrics,
    text_metrics,
)
from lanpo_rl.tasks import make_hidden_constants
from tests.rl.spies import Spy, few

MakeTrainer = Callable[..., Spy]
NAN = float("nan")
GUIDED = torch.tensor([[False, False, True, True], [False, False, False, False]])


# ---------------------------------------------------------------------- by hand


def test_rewards_of_both_kinds_and_their_difference():
    task = torch.tensor([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    found = reward_metrics(task, task, GUIDED)
    assert found["feedback_ratio"] == 0.5
    assert found["guided_rows"] == 0.25
    assert found["reward_guided"] == 1.0
    assert found["reward_scratch"] == pytest.approx(2 / 6)
    assert found["reward_uplift"] == 0.5, "of the group that has both"
    assert found["zero_variance_guided"] == 1.0
    assert found["zero_variance_scratch"] == 0.0


def test_rewards_nobody_gave_are_left_out():
    task = torch.tensor([[NAN, 1.0, NAN, NAN], [NAN, NAN, NAN, NAN]])
    found = reward_metrics(task, task, GUIDED)
    assert found["reward_scratch"] == 1.0
    assert "reward_guided" not in found
    assert "reward_uplift" not in found
    assert all(math.isfinite(x) for x in found.values())


def test_lengths_cuts_and_headers():
    prompts = EnglishPrompts()
    headers = "\n".join(either[0] for either in prompts.sections("inter"))
    shown = Guidance(kind="inter", text="t")
    found = text_metrics(
        ["a", "a", headers, "no headers"],
        [2, 4, 10, 20],
        [False, True, False, True],
        [Guidance(), Guidance(), shown, shown],
        prompts=prompts,
    )
    assert found == {
        "length_guided": 15.0,
        "length_scratch": 3.0,
        "truncated_guided": 0.5,
        "truncated_scratch": 0.5,
        "distinct_guided": 1.0,
        "distinct_scratch": 0.5,
        "headers_present": 0.5,
    }


def test_flips_of_fresh_attempts():
    task = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert flip_metrics(task, {2: 0, 3: 1}, 0.5) == {"flips_to_right": 1.0, "flips_to_wrong": 1.0}
    assert flip_metrics(task, {}, 0.5) == {}


def test_entropies_are_means_over_tokens():
    assert entropy_metrics([6.0, 3.0, 0.0, 0.0]) == {"entropy_guided": 2.0}


def test_similarity_quantiles():
    seen = Observation(
        retrieval=RetrievalFigures(
            searched=4, hits=3, similarities=tuple(i / 10 for i in range(11)), ages=(1, 3)
        )
    )
    found = memory_metrics(seen)
    assert (found["similarity_p10"], found["similarity_p50"], found["similarity_p90"]) == (
        0.1,
        0.5,
        0.9,
    )
    assert found["hit_rate"] == 0.75
    assert found["age_steps"] == 2.0


def test_a_stage_within_a_stage_counts_for_itself():
    ticks = iter([0.0, 1.0, 2.0, 5.0, 9.0, 10.0])
    clock = StageClock(now=lambda: next(ticks))
    clock.begin()
    with clock("update"), clock("generate"):
        pass
    seconds = clock.end()
    assert seconds["generate"] == 3.0
    assert seconds["update"] == 5.0
    assert seconds["other"] == 2.0
    assert sum(seconds[stage] for stage in STAGES) == seconds["step"] == 10.0


# ---------------------------------------------------------------------- on a run


def test_the_stage_times_of_every_step_add_up_to_the_step(make_trainer: MakeTrainer):
    """Also of steps that reuse rollouts: nothing is sampled there, and the log says 0."""
    trainer = make_trainer(
        "recommended",
        kind=Spy,
        max_steps=8,
        per_device_train_batch_size=16,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "lanpo/step_ms" in row]
    assert len(rows) == 8
    for number, row in enumerate(rows):
        parts = [row[f"lanpo/{stage}_ms"] for stage in STAGES]
        assert sum(parts) == pytest.approx(row["lanpo/step_ms"])
        assert min(parts) >= -0.01
        assert row["lanpo/update_ms"] > 0
        assert (row["lanpo/generate_ms"] > 0) is (number % 2 == 0)
        assert (row["lanpo/reward_ms"] > 0) is (number % 2 == 0)
        assert row["lanpo/other_ms"] < 0.5 * row["lanpo/step_ms"], "most of it has a name"


def test_every_figure_that_a_run_is_read_by_is_there(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", kind=Spy, max_steps=12, canary_every=4)
    trainer.train()
    names = {name for row in trainer.state.log_history for name in row}
    for name in (
        *("feedback_ratio", "guided_rows", "reward_guided", "reward_scratch", "reward_uplift"),
        *("zero_variance_guided", "zero_variance_scratch", "entropy_guided", "entropy_scratch"),
        *("length_guided", "length_scratch", "truncated_guided", "truncated_scratch"),
        *("distinct_guided", "guidance_tokens", "extra_tokens", "truncated_prompts"),
        *("dropped_for_budget", "hit_rate", "similarity_p10", "similarity_p50", "similarity_p90"),
        *("receipts_added", "receipts_failed", "receipts_rejected", "pool_size", "age_steps"),
        *("canary_readable", "canary_tokens", "alarm_leakage", "alarm_gradient_norm"),
        *(f"{stage}_ms" for stage in STAGES),
    ):
        assert f"lanpo/{name}" in names, name


def test_entropies_of_both_kinds_average_to_trls_own(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", kind=Spy, max_steps=6)
    trainer.train()
    for row, batch in zip(trainer.state.log_history, trainer.batches, strict=False):
        guided, mask = batch["lanpo_guided"], batch["completion_mask"].float()
        tokens = mask[guided].sum(), mask[~guided].sum()
        if "lanpo/entropy_guided" in row:
            mean = (
                row["lanpo/entropy_guided"] * tokens[0] + row["lanpo/entropy_scratch"] * tokens[1]
            ) / sum(tokens)
            assert float(mean) == pytest.approx(row["entropy"], rel=1e-4)


def test_completion_tables_name_the_entries_that_were_used(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended", kind=Spy, max_steps=6, log_completions=True, logging_steps=1
    )
    trainer.train()
    files = sorted(
        p for p in __import__("pathlib").Path(trainer.args.output_dir).rglob("*.parquet")
    )
    found = 0
    for plan, file in zip(trainer.plans, files, strict=True):
        table = pd.read_parquet(file)
        expected = [" ".join(g.experience_ids) for g in plan.guidance_N]
        assert list(table["experiences"]) == expected
        assert list(table["guidance"]) == [g.kind for g in plan.guidance_N]
        found += sum(map(bool, expected))
    assert found > 10


def test_an_answer_without_its_solution_section_is_not_distilled_but_counted(
    make_trainer: MakeTrainer,
):
    from lanpo_rl.tiny import TinyPrompts

    class Sectioned(TinyPrompts):
        def solution(self, kind: Any, completion: str) -> str | None:
            return None if kind == "inter" else completion

    trainer = make_trainer("recommended", kind=Spy, max_steps=8, options={"prompts": Sectioned()})
    trainer.train()
    assert sum(trainer.logged("lanpo/undistillable")) > 0
    assert not any(b["lanpo_advantages"].any() for b in trainer.batches if "lanpo_advantages" in b)
    assert set(trainer.logged("lanpo/distilled_rows")) == {0.0}


def test_an_alarm_is_a_log_line_and_a_metric(
    make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
):
    from lanpo_rl.alarms import Alarms, Watch

    class Crowded(Watch):
        name = "crowded"

        def update(self, step: int, figures: Any) -> str | None:
            return self.episode(figures.get("pool_size", 0) > 3, "more than three entries")

    trainer = make_trainer(
        "recommended", kind=Spy, max_steps=8, options={"alarms": Alarms([Crowded()])}
    )
    trainer.train()
    lines = [r.message for r in caplog.records if "alarm crowded" in r.message]
    assert len(lines) == 1
    assert "more than three entries" in lines[0]
    rung = trainer.logged("lanpo/alarm_crowded")
    assert rung[0] == 0.0
    assert rung[-1] == 1.0


def test_alarms_can_be_left_out(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended", kind=Spy, task=few(make_hidden_constants(0), 8), alarms=False, max_steps=3
    )
    trainer.train()
    names = {name for row in trainer.state.log_history for name in row}
    assert not any("alarm" in name or "canary" in name for name in names)
