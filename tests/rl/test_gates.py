"""Gates that look at outcomes: who is guided, what is shown, and that TRL sees one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Problem
from lanpo_rl.gates import failing, fresh_attempts, reflects_anyway
from lanpo_rl.plans import Plan
from lanpo_rl.tasks import make_chains, make_hidden_constants
from tests.rl.spies import Spy, few, pool_of, shown

MakeTrainer = Callable[..., Spy]
TURNS = {"kind": Spy, "group_layout": "mixed", "max_completion_length": 24}


def reflecting(make_trainer: MakeTrainer, **settings: Any) -> Spy:
    given = {**TURNS, "gate": "all_wrong", "mode": "intra", "max_steps": 5, **settings}
    trainer = make_trainer("recommended", task=make_chains(0), **given)
    trainer.train()
    return trainer


# ---------------------------------------------------------------------- all_wrong


def test_every_guided_rollout_looks_at_a_scratch_rollout_of_its_own_group_and_step(
    make_trainer: MakeTrainer,
):
    trainer = reflecting(make_trainer)
    looked = 0
    for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True):
        scratch = {row for row in range(len(rollouts)) if row % 8 < 4}
        for row, source in plan.looked_at.items():
            looked += 1
            assert row // 8 == source // 8, "an attempt of another problem"
            assert source in scratch
            attempt = rollouts[row].guidance.attempt
            assert attempt.text == rollouts[source].completion
            assert attempt.step == plan.step
        assert all(rollouts[row].guidance is None for row in scratch)
    assert looked > 20


def test_a_group_reflects_only_where_its_whole_scratch_part_is_wrong(make_trainer: MakeTrainer):
    trainer = reflecting(make_trainer)
    for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True):
        for p in range(len(plan.problems_P)):
            group = rollouts[p * 8 : (p + 1) * 8]
            wrong = not any(r.correct for r in group[:4])
            assert [bool(r.guidance) for r in group] == [False] * 4 + [wrong] * 4


def test_the_four_reflections_of_a_group_look_at_four_attempts(make_trainer: MakeTrainer):
    trainer = reflecting(make_trainer)
    sources = [
        [plan.looked_at[row] for row in range(p * 8 + 4, p * 8 + 8)]
        for plan in trainer.plans
        for p in range(len(plan.problems_P))
        if p * 8 + 4 in plan.looked_at
    ]
    assert sources
    assert all(len(set(group)) == 4 for group in sources)


def test_reflecting_on_right_attempts_too_flips_some_and_says_so(make_trainer: MakeTrainer):
    trainer = reflecting(make_trainer, reflect_on_right=1.0, max_steps=8)
    rights = sum(
        rollouts[source].correct
        for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True)
        for source in plan.looked_at.values()
    )
    assert rights > 10
    expected = []
    for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True):
        pairs = [(rollouts[a].correct, rollouts[b].correct) for b, a in plan.looked_at.items()]
        lost = [not now for before, now in pairs if before]
        if lost:
            expected.append(sum(lost) / len(lost))
    assert trainer.logged("lanpo/flips_to_wrong") == pytest.approx(expected)
    assert all(0 <= share <= 1 for share in trainer.logged("lanpo/flips_to_right"))
    assert max(trainer.logged("lanpo/flips_to_right")) > 0


def test_what_a_reflection_reads_does_not_depend_on_the_outcome(make_trainer: MakeTrainer):
    """The gate looks at outcomes; the text that is shown is that of the attempt, whatever it got.

    Both runs sample the same: their rewards differ, and so who reflects; not what is read.
    """

    def never(completions: Any, **_: Any) -> list[float]:
        return [0.0 for _ in completions]

    def lucky(completions: Any, **_: Any) -> list[float]:
        return [float(i % 8 == 0) for i in range(len(completions))]

    texts = []
    for reward in (never, lucky):
        trainer = make_trainer(
            "recommended",
            task=make_chains(0),
            **{**TURNS, "gate": "all_wrong", "mode": "intra", "reflect_on_right": 1.0},
            max_steps=1,
            options={"reward_funcs": reward},
        )
        trainer.train()
        texts.append(shown(trainer))
    assert texts[0] == texts[1]
    assert any(text for step in texts[0] for group in step for text in group)


def test_in_mode_both_inter_guidance_is_shared_and_intra_is_not(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended",
        task=few(make_hidden_constants(0), 200),
        **{**TURNS, "gate": "all_wrong", "mode": "both", "intra_share": 0.5},
        max_steps=12,
    )
    trainer.train()
    kinds = {"inter": 0, "intra": 0}
    for plan in trainer.plans:
        for group in plan.guidance_PG:
            guided = [g for g in group if g]
            assert len({g.kind for g in guided}) <= 1
            if guided:
                kinds[guided[0].kind] += 1
            if guided and guided[0].kind == "inter":
                assert len({g.text for g in guided}) == 1
    assert min(kinds.values()) > 0


# ---------------------------------------------------------------------- when_failing


def test_in_a_mixed_group_experiences_are_shown_only_where_the_scratch_part_fails(
    make_trainer: MakeTrainer,
):
    trainer = make_trainer("recommended", **{**TURNS, "gate": "when_failing"}, max_steps=8)
    trainer.train()
    guided = 0
    for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True):
        for p in range(len(plan.problems_P)):
            group = rollouts[p * 8 : (p + 1) * 8]
            guided += any(r.guidance for r in group)
            if any(r.correct for r in group[:4]):
                assert not any(r.guidance for r in group)
            assert not any(r.guidance for r in group[:4])
    assert guided > 5


def test_in_a_shared_group_the_last_scratch_group_of_the_problem_decides(
    make_trainer: MakeTrainer,
):
    trainer = make_trainer(
        "paper",
        task=few(make_hidden_constants(0), 8),
        kind=Spy,
        gate="when_failing",
        feedback_ratio=0.5,
        max_steps=16,
    )
    trainer.train()
    fails: dict[str, bool] = {}
    closed = 0
    for plan, rollouts in zip(trainer.plans, trainer.rollouts, strict=True):
        for p, problem in enumerate(plan.problems_P):
            group = rollouts[p * 8 : (p + 1) * 8]
            if not fails.get(problem.id, True):
                closed += 1
                assert not any(r.guidance for r in group)
            if not any(r.guidance for r in group):
                fails[problem.id] = not any(r.correct for r in group)
    assert closed > 0


# ---------------------------------------------------------------------- one batch for TRL


def test_rewards_advantages_and_tokens_stand_in_the_rows_order(make_trainer: MakeTrainer):
    trainer, task = reflecting(make_trainer), make_chains(0)
    for plan, batch, rollouts in zip(trainer.plans, trainer.batches, trainer.rollouts, strict=True):
        prompts = trainer.texts(batch["prompt_ids"], batch["prompt_mask"])
        said = trainer.texts(batch["completion_ids"], batch["completion_mask"])
        for i, (row, rollout) in enumerate(zip(plan.rows, rollouts, strict=True)):
            assert row["prompt"][0]["content"] in prompts[i]
            assert rollout.completion in said[i].replace(" ", "")
            assert rollout.reward == task.reward(rollout.completion, row["answer"])


def test_reward_functions_see_every_completion_once_and_with_its_own_row(
    make_trainer: MakeTrainer,
):
    seen: list[tuple[str, str]] = []
    task = make_chains(0)

    def counting(prompts: Any, completions: Any, answer: Any, log_extra: Any, **_: Any) -> Any:
        texts = [c[0]["content"] for c in completions]
        seen.extend((p[0]["content"], t) for p, t in zip(prompts, texts, strict=True))
        log_extra("said", texts)
        return [task.reward(t, a) for t, a in zip(texts, answer, strict=True)]

    trainer = make_trainer(
        "recommended",
        task=task,
        **{**TURNS, "gate": "all_wrong", "mode": "intra"},
        max_steps=1,
        log_completions=True,
        options={"reward_funcs": counting},
    )
    trainer.train()
    rows, rollouts = trainer.plans[0].rows, trainer.rollouts[0]
    expected = [
        (r["prompt"][0]["content"], x.completion) for r, x in zip(rows, rollouts, strict=True)
    ]
    assert sorted(seen) == sorted(expected)
    table = next((Path(trainer.args.output_dir) / "completions").glob("*.parquet"))
    import pandas as pd

    frame = pd.read_parquet(table)
    assert list(frame["said"]) == [r.completion for r in rollouts]
    assert list(frame["guidance"]) == [r["lanpo_guidance"] for r in rows]


def test_trls_figures_of_the_batch_are_those_of_one_batch(make_trainer: MakeTrainer):
    trainer = reflecting(make_trainer, max_steps=3)
    for step, batch in enumerate(trainer.batches):
        lengths = batch["completion_mask"].sum(1).float()
        row = trainer.state.log_history[step]
        assert row["completions/mean_length"] == pytest.approx(float(lengths.mean()))
        assert row["completions/min_length"] == float(lengths.min())
        assert row["completions/max_length"] == float(lengths.max())
    tokens = sum(int(b["completion_mask"].sum() + b["prompt_mask"].sum()) for b in trainer.batches)
    assert trainer.state.log_history[2]["num_tokens"] == tokens


def test_a_gate_works_with_slices_and_accumulation(make_trainer: MakeTrainer):
    trainer = reflecting(
        make_trainer,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        steps_per_generation=2,
    )
    assert any(plan.looked_at for plan in trainer.plans)
    assert all(math.isfinite(x) for x in trainer.logged("loss"))


# ---------------------------------------------------------------------- the parts


def test_what_was_gathered_in_two_turns_of_two_ranks_comes_back_in_order():
    rows = [{"prompt": str(i)} for i in range(8)]
    problems = [Problem(text=f"p{p}") for p in range(4)]
    plan = Plan(0, rows, [str(i) for i in range(8)], problems, group=4, scratch=2, first=8)
    early = torch.tensor([0, 1, 4, 5, 8, 9, 12, 13])  # rank 0, then rank 1
    late = torch.tensor([2, 3, 6, 7, 10, 11, 14, 15])
    assert plan.world(early, late).tolist() == list(range(16))
    assert plan.turns() == ([0, 1, 4, 5], [2, 3, 6, 7])
    assert plan.in_order("abef", "cdgh") == list("abcdefgh")


def test_empty_completions_are_not_reflected_on():
    problem = Problem(text="2 + 3?")
    found = fresh_attempts(problem, ["", "one", " \n", "two"], count=3, step=7)
    assert [(a.text, s) for a, s in filter(None, found)] == [("one", 1), ("two", 3), ("one", 1)]
    assert fresh_attempts(problem, ["", " "], count=2, step=7) == [None, None]


def test_nothing_scored_is_nothing_known():
    nan = float("nan")
    rewards = torch.tensor([[nan, nan], [nan, 0.0], [nan, 1.0]])
    assert failing(rewards, correct_above=0.5) == [None, True, False]


def test_the_coin_for_right_groups_keeps_its_share():
    problems = [Problem(text=str(i)) for i in range(2000)]
    share = sum(reflects_anyway(p, step=3, seed=0, share=0.25) for p in problems) / 2000
    assert 0.21 < share < 0.29
    assert not any(reflects_anyway(p, step=3, seed=0, share=0.0) for p in problems)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"gate": "all_wrong", "mode": "inter"}, "shows a fresh attempt"),
        (
            {"gate": "all_wrong", "mode": "intra", "group_layout": "shared"},
            "a shared group has none",
        ),
        ({"gate": "when_failing", "mode": "none"}, "nothing to open"),
        ({"gate": "sometimes"}, "gate must be one of"),
        ({"reflect_on_right": 0.5}, "reflect_on_right is a share"),
        (
            {"gate": "all_wrong", "mode": "intra", "reflect_on_right": 1.5},
            "reflect_on_right must lie",
        ),
    ],
)
def test_gates_without_meaning_are_refused(
    make_config: Callable[..., Any], settings: dict[str, Any], reason: str
):
    with pytest.raises(ConfigError, match=reason):
        make_config("recommended", **settings)


def test_groups_that_straddle_processes_are_refused(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", **TURNS, mode="intra", gate="all_wrong")
    trainer.args.per_device_train_batch_size = 12  # of two processes, the second group is halved
    with pytest.raises(ConfigError, match="whole groups on each process"):
        trainer._lanpo_check_groups()


def test_the_pool_fills_under_a_gate(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", **{**TURNS, "gate": "when_failing"}, max_steps=4)
    trainer.train()
    assert len(pool_of(trainer)) > 0
    uses = pool_of(trainer).store.read("exposure")
    assert not any(x.randomised for x in uses), "the gate chose these groups by their outcome"
