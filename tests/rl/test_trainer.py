"""A few steps of every kind: what is shown, what the loss sees, what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from lanpo_memory import Attempt, EnglishPrompts
from lanpo_memory.errors import ConfigError
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import Example, make_chains, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer
from tests.rl.spies import Spy, few, last_log, pool_of, shared

MakeTrainer = Callable[..., LanpoTrainer]


# ---------------------------------------------------------------------- every mode and objective


@pytest.mark.parametrize("objective", ["in_context", "distill", "both"])
@pytest.mark.parametrize("layout", ["shared", "mixed"])
def test_prompts_are_changed_the_pool_grows_and_weights_move(
    make_trainer: MakeTrainer, objective: str, layout: str
):
    trainer = make_trainer(
        "recommended", kind=Spy, objective=objective, group_layout=layout, max_steps=8
    )
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    guided = [plan for plan in trainer.plans if plan.guided_PG.any()]
    assert len(guided) >= 3
    for plan in guided:
        per_group = plan.guided_PG.sum(1)
        assert set(per_group.tolist()) <= {0, 8 if layout == "shared" else 4}
        for row, bare, is_guided in zip(
            plan.rows, plan.bare, plan.guided_PG.flatten().tolist(), strict=True
        ):
            assert row["prompt"][0]["content"].startswith("hint ") is is_guided
            assert row["prompt"][0]["content"].endswith(bare[0]["content"])
    assert len(pool_of(trainer)) > 8
    assert last_log(trainer, "lanpo/pool_size") == len(pool_of(trainer))
    assert any(not torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items()), (
        "nothing was learned"
    )


@pytest.mark.parametrize("mode", ["intra", "both"])
def test_an_earlier_attempt_is_shown_once_a_problem_comes_back(
    make_trainer: MakeTrainer, mode: str
):
    trainer = make_trainer(
        "recommended",
        task=few(make_chains(0), 8),
        kind=Spy,
        mode=mode,
        max_completion_length=24,
        max_steps=6,
    )
    trainer.train()
    kinds = {kind for plan in trainer.plans for kind in plan.kinds_n}
    assert "intra" in kinds
    shown = [
        row["prompt"][0]["content"]
        for plan in trainer.plans
        for row in plan.rows
        if row["lanpo_guidance"] == "intra"
    ]
    assert all(text.startswith("check ") for text in shown)
    attempts = pool_of(trainer).store.read("attempt")
    assert all(isinstance(a, Attempt) for a in attempts)
    assert not trainer.plans[0].guided_PG.any(), "cold start"


def test_mode_none_changes_no_prompt(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", mode="none", kind=Spy)
    trainer.train()
    assert not any(plan.guided_PG.any() for plan in trainer.plans)
    assert len(pool_of(trainer)) > 0, "the pool is still filled"


# ---------------------------------------------------------------------- what the loss sees


def test_the_loss_is_computed_under_the_augmented_prompt(make_trainer: MakeTrainer):
    trainer = make_trainer("paper", kind=Spy, max_steps=8)
    trainer.train()
    seen = 0
    for plan, batch in zip(trainer.plans, trainer.batches, strict=True):
        prompts = trainer.texts(batch["prompt_ids"], batch["prompt_mask"])
        for text, row in zip(prompts, plan.rows, strict=True):
            assert row["prompt"][0]["content"] in text
            seen += "hint " in text
    assert seen >= 32
    for inputs in trainer.losses:
        prompts = trainer.texts(inputs["prompt_ids"], inputs["prompt_mask"])
        assert len({*prompts}) >= 1
    losses = [t for x in trainer.losses for t in trainer.texts(x["prompt_ids"], x["prompt_mask"])]
    assert sum("hint " in t for t in losses) == seen, "TRL's loss saw other prompts"
    assert not any("lanpo_advantages" in inputs for inputs in trainer.losses)


def test_the_distilling_loss_is_computed_under_the_bare_prompt(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", kind=Spy, max_steps=8)
    trainer.train()
    distilled = 0
    for plan, batch in zip(trainer.plans, trainer.batches, strict=True):
        if "lanpo_advantages" not in batch:
            continue
        bare = trainer.texts(batch["lanpo_prompt_ids"], batch["lanpo_prompt_mask"])
        for text, prompt, weight, guided in zip(
            bare,
            plan.bare,
            batch["lanpo_advantages"].tolist(),
            plan.guided_PG.flatten().tolist(),
            strict=True,
        ):
            assert "hint " not in text
            assert prompt[0]["content"] in text
            assert weight >= 0
            assert weight == 0 or guided, "a scratch rollout was distilled"
            distilled += weight > 0
    assert distilled > 0


def test_the_distilling_term_is_minus_the_weighted_log_likelihood(make_trainer: MakeTrainer):
    """Its gradient equals that of −Σ weight · log π(completion | bare prompt) / items."""
    trainer = make_trainer("recommended", kind=Spy, max_steps=8, objective="distill")
    trainer.train()
    inputs = next(
        x
        for x in reversed(trainer.losses)
        if "lanpo_advantages" in x and x["lanpo_advantages"].any()
    )
    # Without in-context advantages, what is left of the loss is the distilling term.
    inputs = {**inputs, "advantages": torch.zeros_like(inputs["advantages"])}
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, inputs).backward()
    got = trainer.model.model.embed_tokens.weight.grad.clone()
    trainer.model.zero_grad()
    ids = torch.cat([inputs["lanpo_prompt_ids"], inputs["lanpo_completion_ids"]], 1)
    mask = torch.cat([inputs["lanpo_prompt_mask"], inputs["lanpo_completion_mask"]], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    start = inputs["lanpo_prompt_ids"].shape[1]
    logits = trainer.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logps = logits[:, start - 1 : -1].log_softmax(-1)
    chosen = logps.gather(2, ids[:, start:].unsqueeze(2)).squeeze(2)
    weights = inputs["lanpo_advantages"].unsqueeze(1) * inputs["lanpo_completion_mask"]
    (-(weights * chosen).sum() / inputs["num_items_in_batch"]).backward()
    expected = trainer.model.model.embed_tokens.weight.grad
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def test_of_a_check_only_the_clean_solution_is_distilled(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended",
        task=few(make_chains(0), 8),
        kind=Spy,
        mode="intra",
        max_completion_length=24,
        max_steps=8,
    )
    trainer.train()
    pairs = [
        (
            trainer.texts(b["lanpo_completion_ids"], b["lanpo_completion_mask"])[i],
            trainer.texts(b["completion_ids"], b["completion_mask"])[i],
        )
        for b in trainer.batches
        if "lanpo_advantages" in b
        for i in b["lanpo_advantages"].nonzero().flatten().tolist()
    ]
    assert pairs
    for clean, marked in pairs:
        assert "=" in marked or "?" in marked
        assert clean == marked.replace("=", "").replace("?", "")


def test_with_smaller_slices_the_extra_rows_travel_along(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended",
        kind=Spy,
        max_steps=12,
        per_device_train_batch_size=16,
        steps_per_generation=2,
    )
    trainer.train()
    assert {len(x["advantages"]) for x in trainer.losses} == {16}
    for x in trainer.losses:
        if "lanpo_advantages" in x:
            guided = trainer.texts(x["prompt_ids"], x["prompt_mask"])
            bare = trainer.texts(x["lanpo_prompt_ids"], x["lanpo_prompt_mask"])
            for with_hint, without in zip(guided, bare, strict=True):
                assert with_hint.endswith(without.removeprefix("<u>"))


def test_trls_own_metrics_are_not_doubled(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", kind=Spy, max_steps=6)
    counts: list[int] = []
    log = trainer.log

    def counting(logs: Any, *args: Any) -> None:
        counts.append(len(trainer._metrics["train"]["entropy"]))
        log(logs, *args)

    trainer.log = counting
    trainer.train()
    assert set(counts[:-1]) == {1}


# ---------------------------------------------------------------------- honest arms


def test_without_guidance_the_run_is_step_for_step_the_one_trl_would_have_made(
    make_trainer: MakeTrainer, tmp_path: Path
):
    ours = make_trainer("grpo", max_steps=5)
    ours.train()
    assert len(pool_of(ours)) > 0, "summaries were on"
    settings = {
        f: getattr(ours.args, f)
        for f in (
            "max_steps",
            "learning_rate",
            "lr_scheduler_type",
            "per_device_train_batch_size",
            "num_generations",
            "max_completion_length",
            "use_cpu",
            "bf16",
            "disable_tqdm",
            "report_to",
            "save_strategy",
            "seed",
        )
    }
    task = make_hidden_constants(0)
    plain = GRPOTrainer(
        model=load_policy(),
        reward_funcs=as_reward(task.reward),
        args=GRPOConfig(
            output_dir=str(tmp_path / "plain"),
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            logging_steps=1,
            **settings,
        ),
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
    )
    plain.train()
    theirs = plain.model.state_dict()
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    rewards = [[r["reward"] for r in t.state.log_history if "reward" in r] for t in (ours, plain)]
    assert rewards[0] == rewards[1]


def test_the_same_seed_gives_the_same_pool(make_trainer: MakeTrainer):
    digests = []
    for _ in range(2):
        trainer = make_trainer("recommended", max_steps=6)
        trainer.train()
        digests.append(pool_of(trainer).digest())
    assert digests[0] == digests[1]


def test_guidance_never_comes_from_the_same_problem(make_trainer: MakeTrainer):
    trainer = make_trainer(
        "recommended", task=few(make_hidden_constants(0), 40), kind=Spy, max_steps=12
    )
    trainer.train()
    pool, seen = pool_of(trainer), 0
    for plan in trainer.plans:
        for problem, guidance in zip(plan.problems_P, shared(plan), strict=True):
            for experience in pool.get(guidance.experience_ids):
                if experience is not None:
                    seen += 1
                    assert experience.problem.id != problem.id
    assert seen > 10


def test_guided_rollouts_do_well_long_before_scratch_ones(make_trainer: MakeTrainer):
    """The early jump that memory gives: over the first 40 steps, on the demo's own task."""
    trainer = make_trainer(
        "recommended", max_steps=40, feedback_ratio=0.75, per_device_train_batch_size=64
    )
    trainer.train()

    def mean(name: str) -> float:
        values = [row[name] for row in trainer.state.log_history if name in row]
        return sum(values) / len(values)

    assert mean("lanpo/reward_guided") >= 0.6
    assert mean("lanpo/reward_scratch") <= 0.25


# ---------------------------------------------------------------------- rewards and metrics


def test_the_memory_and_the_distilling_term_see_the_task_reward_without_the_bonus(
    make_trainer: MakeTrainer,
):
    class Headed(TinyPrompts):
        def sections(self, kind: Any) -> Any:
            return (("C",),)  # every solution has it

    trainer = make_trainer(
        "recommended", kind=Spy, max_steps=8, options={"prompts": Headed()}, header_bonus=0.1
    )
    trainer.train()
    assert trainer.reward_func_names == ["reward", "section_headers"]
    guided = [r for rs in trainer.rollouts for r in rs if r.guidance]
    assert guided
    assert {r.reward for rs in trainer.rollouts for r in rs} <= {0.0, 1.0}
    totals = trainer._lanpo_outcome.total_N
    assert any(abs(float(v) % 1 - 0.1) < 1e-6 for v in totals), "the bonus is in the total"


def test_english_prompts_bring_the_header_reward_along(make_trainer: MakeTrainer):
    trainer = make_trainer("paper", options={"prompts": EnglishPrompts()})
    assert trainer.reward_func_names[-1] == "section_headers"
    assert len(trainer.reward_weights) == 2
    without = make_trainer("paper", options={"prompts": EnglishPrompts()}, header_bonus=0.0)
    assert without.reward_func_names == ["reward"]


def test_rollouts_that_cannot_be_scored_are_no_evidence(make_trainer: MakeTrainer):
    def fussy(completions: Any, answer: Any, **kwargs: Any) -> list[float | None]:
        return [None if i % 2 else 1.0 for i, _ in enumerate(completions)]

    trainer = make_trainer("recommended", kind=Spy, options={"reward_funcs": fussy}, max_steps=4)
    trainer.train()
    rewards = {r.reward for rs in trainer.rollouts for r in rs}
    assert rewards == {None, 1.0}
    assert all(not math.isnan(v) for v in trainer.batches[-1]["advantages"].tolist())


def test_metrics_are_logged_through_trl(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", max_steps=8)
    trainer.train()
    for name in (
        "feedback_ratio",
        "guided_rows",
        "reward_guided",
        "reward_scratch",
        "zero_variance_guided",
        "hit_rate",
        "similarity",
        "templates",
        "age_steps",
        "guidance_tokens",
        "summary_tokens",
        "completion_tokens",
        "receipts_added",
        "receipts_failed",
        "pool_size",
        "retrieve_ms",
        "generate_ms",
        "summarise_ms",
        "persist_ms",
        "distilled_rows",
    ):
        value = last_log(trainer, f"lanpo/{name}")
        assert math.isfinite(value), name
    assert 0 <= last_log(trainer, "lanpo/feedback_ratio") <= 1
    assert last_log(trainer, "lanpo/guided_rows") <= 0.5


def test_the_realised_ratio_counts_the_cold_start(make_trainer: MakeTrainer):
    trainer = make_trainer("paper", kind=Spy, max_steps=3)
    trainer.train()
    logged = [
        row["lanpo/feedback_ratio"]
        for row in trainer.state.log_history
        if "lanpo/feedback_ratio" in row
    ]
    assert logged == pytest.approx(
        [plan.guided_PG.any(1).float().mean().item() for plan in trainer.plans]
    )
    assert logged[0] == 0.0


# ---------------------------------------------------------------------- settings and checkpoints


def test_other_configs_are_refused(tmp_path: Path):
    config = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False
    )
    with pytest.raises(ConfigError, match="LanpoConfig"):
        LanpoTrainer(load_policy(), as_reward(lambda t, a: 0.0), config)


def test_kl_to_a_reference_needs_a_saved_model_and_then_works(
    make_trainer: MakeTrainer, tmp_path: Path
):
    from lanpo_rl.tiny import save_policy

    folder = save_policy(tmp_path / "policy")
    trainer = make_trainer(
        "recommended", options={"model": str(folder)}, beta=0.02, max_steps=4, kind=Spy
    )
    trainer.train()
    assert math.isfinite(last_log(trainer, "kl"))


def test_a_resumed_run_has_the_pool_of_the_uninterrupted_one(
    make_trainer: MakeTrainer, tmp_path: Path
):
    whole = make_trainer("recommended", max_steps=6, save_strategy="steps", save_steps=3)
    whole.train()
    resumed = make_trainer("recommended", max_steps=6, save_strategy="no")
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3"))
    assert pool_of(resumed).digest() == pool_of(whole).digest()
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_examples_keep_answers_beside_problems():
    example = make_hidden_constants(0).train[0]
    assert isinstance(example, Example)
    assert example.answer not in str(example.problem.metadata)
