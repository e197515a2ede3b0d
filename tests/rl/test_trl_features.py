"""Everything TRL can do stays possible: a few steps of each, and what the loss then sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import trl
from trl import GRPOConfig, GRPOTrainer

from lanpo_memory import EnglishPrompts, ExperiencePool, Guide, PoolAdapter
from lanpo_memory.errors import ConfigError
from lanpo_rl.frozen import FrozenPolicy
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import make_chains, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer, save_policy
from tests.rl.spies import Spy, pool_of

MakeTrainer = Callable[..., Spy]

STEPS = [
    {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2},
    {
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 4,
    },
    {"num_iterations": 2},
    {
        "num_iterations": 2,
        "steps_per_generation": 2,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "max_steps": 16,
    },
    {"loss_type": "grpo"},
    {"loss_type": "dr_grpo"},
    {"loss_type": "bnpo"},
    {"loss_type": "cispo", "epsilon_high": 5.0},
    {"importance_sampling_level": "sequence"},
    {"scale_rewards": "none"},
    {"mask_truncated_completions": True},
    {"top_entropy_quantile": 0.5},
    {"entropy_coef": 0.01},
]


def run(make_trainer: MakeTrainer, **settings: Any) -> Spy:
    trainer = make_trainer("recommended", **{"kind": Spy, "max_steps": 6, **settings})
    trainer.train()
    return trainer


@pytest.mark.parametrize("settings", STEPS, ids=str)
def test_a_few_steps_learn_from_guided_and_distilled_rollouts(
    make_trainer: MakeTrainer, settings: dict[str, Any]
):
    trainer = run(make_trainer, **settings)
    assert all(math.isfinite(loss) for loss in trainer.logged("loss"))
    assert any("lanpo_advantages" in inputs for inputs in trainer.losses)
    assert max(trainer.logged("lanpo/distilled_rows")) > 0
    before = load_policy().state_dict()
    after = trainer.model.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before if name in after)
    for inputs in trainer.losses:
        rows = len(inputs["advantages"])
        assert all(len(inputs[n]) == rows for n in inputs if n.startswith("lanpo_"))


def test_rollouts_are_reused_and_told_once(make_trainer: MakeTrainer):
    trainer = run(make_trainer, num_iterations=3, max_steps=6)
    assert len(trainer.plans) == 2, "two generations in six steps"
    assert len(trainer.rollouts) == 2
    assert any("old_per_token_logps" in inputs for inputs in trainer.losses)
    guided = [x for x in trainer.losses if "lanpo_advantages" in x]
    assert all("old_per_token_logps" in x for x in guided)


def test_the_distilling_term_has_no_ratio_even_where_the_policy_has_moved_on(
    make_trainer: MakeTrainer,
):
    """In the second pass over a batch its gradient is still that of the plain likelihood."""
    trainer = run(make_trainer, num_iterations=2, objective="distill", max_steps=12)
    inputs = next(x for x in reversed(trainer.losses) if "lanpo_advantages" in x)
    inputs = {**inputs, "advantages": torch.zeros_like(inputs["advantages"])}
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, inputs).item()
    # Value of  -Σ weight / items  where every ratio is exactly one.
    weights = inputs["lanpo_advantages"].unsqueeze(1) * inputs["lanpo_completion_mask"]
    expected = -float(weights.sum() / inputs["num_items_in_batch"])
    assert loss == pytest.approx(expected, rel=1e-4)


def test_adapters(make_trainer: MakeTrainer):
    from peft import LoraConfig

    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    trainer = run(make_trainer, options={"peft_config": lora}, beta=0.01)
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert max(trainer.logged("lanpo/distilled_rows")) > 0
    assert all(math.isfinite(x) for x in trainer.logged("kl"))
    assert len(pool_of(trainer)) > 0


def test_a_frozen_summarizer_with_adapters_is_the_base_model(make_trainer: MakeTrainer):
    from peft import LoraConfig

    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    trainer = run(
        make_trainer,
        options={"peft_config": lora},
        summarizer_weights="frozen",
        learning_rate=5e-3,
        max_steps=4,
    )
    ask = [[{"role": "user", "content": r"sum bako bako bako 8_6|C09+14=\boxed{23}"}]]
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight))
    said = trainer.summary_model.generate(ask, max_tokens=8)[0].text
    assert said == "bako C09"
    assert trainer.model.active_adapters == ["default"]


def test_a_frozen_summarizer_never_moves(make_trainer: MakeTrainer):
    trainer = run(make_trainer, summarizer_weights="frozen", learning_rate=1e-3)
    assert isinstance(trainer.summary_model, FrozenPolicy)
    frozen, start = trainer.summary_model._model, load_policy()
    for copy, first in zip(frozen.parameters(), start.parameters(), strict=True):
        assert torch.equal(copy, first)
        assert not copy.requires_grad
    live = zip(trainer.model.parameters(), start.parameters(), strict=True)
    assert any(not torch.equal(now, first) for now, first in live)
    ask = [{"role": "user", "content": r"sum bako bako bako 8_6|C09+14=\boxed{23}"}]
    with torch.no_grad():  # what the live policy has become does not reach the copy
        for weight in trainer.model.parameters():
            weight.zero_()
    assert trainer.summary_model.generate([ask], max_tokens=8)[0].text == "bako C09"
    assert trainer.summary_model.ledger.total.calls > 1
    assert trainer.policy.ledger.total.calls == 0


def test_kl_to_a_reference(make_trainer: MakeTrainer, tmp_path: Path):
    folder = save_policy(tmp_path / "policy")
    trainer = run(make_trainer, options={"model": str(folder)}, beta=0.05)
    assert all(math.isfinite(x) for x in trainer.logged("kl"))
    assert max(trainer.logged("lanpo/distilled_rows")) > 0


def test_a_frozen_summarizer_of_a_model_given_by_its_folder(
    make_trainer: MakeTrainer, tmp_path: Path
):
    folder = save_policy(tmp_path / "policy")
    trainer = run(
        make_trainer, options={"model": str(folder)}, summarizer_weights="frozen", max_steps=3
    )
    assert len(pool_of(trainer)) > 0


def test_evaluation_during_training_is_bare_and_leaves_no_trace(make_trainer: MakeTrainer):
    task = make_hidden_constants(0)
    settings = {"options": {"eval_dataset": task.dataset("held_out").select(range(16))}}
    trainer = make_trainer(
        "recommended",
        kind=Spy,
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=16,
        max_steps=4,
        header_bonus=0.1,
        **settings,
    )
    prompts: list[str] = []
    generate = trainer._generate

    def noting(given: Any) -> Any:
        if not trainer.model.training:
            prompts.extend(p[0]["content"] for p in given)
        return generate(given)

    trainer._generate = noting
    trainer.train()
    assert len(prompts) >= 32
    assert not any("hint" in p for p in prompts)
    assert len(trainer.logged("eval_reward")) == 2
    assert not any(
        name.startswith("eval_lanpo") for row in trainer.state.log_history for name in row
    )
    held_out = {e.problem.id for e in task.held_out}
    entries = pool_of(trainer).store.read("experience")
    assert entries
    assert not any(e.problem.id in held_out for e in entries)


def test_evaluation_does_not_change_what_is_remembered(make_trainer: MakeTrainer):
    """Evaluation draws random numbers, as it does in TRL; what rank 0 stores is not disturbed."""
    digests = []
    for strategy in ("no", "steps"):
        task = make_hidden_constants(0)
        trainer = make_trainer(
            "recommended",
            kind=Spy,
            eval_strategy=strategy,
            eval_steps=3,
            per_device_eval_batch_size=16,
            max_steps=3,
            options={"eval_dataset": task.dataset("held_out").select(range(16))},
        )
        trainer.train()
        digests.append(pool_of(trainer).digest())
    assert digests[0] == digests[1]


def test_streamed_datasets(make_trainer: MakeTrainer):
    rows = make_hidden_constants(0).dataset("train").to_iterable_dataset()
    trainer = run(make_trainer, options={"train_dataset": rows}, max_steps=5)
    assert trainer.state.global_step == 5
    assert len(pool_of(trainer)) > 0
    problems = [p.id for plan in trainer.plans for p in plan.problems_P]
    assert len(set(problems)) == len(problems)


def test_epochs_instead_of_steps(make_trainer: MakeTrainer):
    rows = make_hidden_constants(0).dataset("train").select(range(8))
    trainer = run(make_trainer, options={"train_dataset": rows}, max_steps=-1, num_train_epochs=3)
    assert trainer.state.global_step == 6


def test_async_rewards_and_models_as_rewards(make_trainer: MakeTrainer):
    task = make_hidden_constants(0)

    async def scored(completions: Any, answer: Any, **_: Any) -> list[float]:
        return [task.reward(c[0]["content"], a) for c, a in zip(completions, answer, strict=True)]

    trainer = run(make_trainer, options={"reward_funcs": scored})
    plain = run(make_trainer)
    assert pool_of(trainer).digest() == pool_of(plain).digest()


def test_several_rewards_with_weights(make_trainer: MakeTrainer):
    task = make_hidden_constants(0)

    def short(completions: Any, **_: Any) -> list[float]:
        return [1.0 for _ in completions]

    trainer = run(
        make_trainer,
        options={"reward_funcs": [as_reward(task.reward), short]},
        reward_weights=[1.0, 0.25],
    )
    rewards = {r.reward for rollouts in trainer.rollouts for r in rollouts}
    assert rewards == {0.25, 1.25}


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_liger_kernel": True}, "needs a GPU"),
        ({"scale_rewards": "batch"}, "scale_rewards 'group' or 'none'"),
        ({"guided_fraction": 0.01}, "leaves one half"),
        ({"guided_fraction": 0.125, "objective": "in_context"}, "its own baseline"),
        ({"guided_fraction": 0.875}, "leaves one scratch rollout"),
        ({"gate": "when_failing", "group_layout": "shared"}, "there are none"),
        ({"distill_weight": 0.0}, "distill_weight must be above 0"),
        ({"feedback_ratio_end": 0.5}, "belong together"),
        ({"feedback_ratio_end": 1.5, "feedback_ratio_steps": 5}, "between 0 and 1"),
        ({"summarizer_weights": "frozen", "summarise": False}, "use 'current'"),
        ({"summarizer": "extractive", "summarizer_weights": "frozen"}, "use 'current'"),
        ({"summarizer": "poet"}, "summarizer must be one of"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens must be at least 1"),
        ({"canary_every": -1}, "canary_every must be at least 0"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be false"),
    ],
    ids=str,
)
def test_settings_without_meaning_are_refused(
    make_config: Callable[..., Any], settings: dict[str, Any], reason: str
):
    with pytest.raises(ConfigError, match=reason):
        make_config("recommended", **settings)


def test_vllm_server_mode_refuses_mixed_groups_and_takes_shared_ones(
    make_config: Callable[..., Any],
):
    server = {"use_vllm": True, "vllm_mode": "server"}
    with pytest.raises(ConfigError, match="one prompt for a whole group"):
        make_config("recommended", **server)
    assert make_config("recommended", **server, group_layout="shared").use_vllm
    assert make_config("recommended", use_vllm=True, vllm_mode="colocate").use_vllm


def test_a_contrast_needs_prompts_that_can_ask_for_one(make_trainer: MakeTrainer):
    with pytest.raises(ConfigError, match="TinyPrompts cannot ask for a contrast"):
        make_trainer("recommended", summarizer="contrastive")


@pytest.mark.parametrize("part", ["tools", "rollout_func", "environment_factory"])
def test_tools_and_own_rollouts_train_in_context_only(make_trainer: MakeTrainer, part: str):
    with pytest.raises(ConfigError, match="use objective='in_context'"):
        make_trainer("recommended", options={part: [print]})


# ---------------------------------------------------------------------- TRL itself


def test_extra_columns_of_ours_do_not_reach_a_plain_trainer(tmp_path: Path):
    """The control: what the other tests run on is TRL's own class."""
    task = make_chains(0)
    plain = GRPOTrainer(
        model=load_policy(),
        reward_funcs=as_reward(task.reward),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=8,
            num_generations=8,
            max_completion_length=24,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            dataloader_pin_memory=False,
            report_to=[],
            save_strategy="no",
        ),
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
    )
    plain.train()
    assert not any(k.startswith("lanpo") for row in plain.state.log_history for k in row)


# ---------------------------------------------------------------------- tools and own rollouts

TEMPLATE = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"


def look(x: str) -> str:
    """Look at something.

    Args:
        x: what
    """
    return "7"


class Room:
    """An environment whose tool is `look`."""

    def reset(self, **row: Any) -> None:
        return None

    def look(self, x: str) -> str:
        """Look at something.

        Args:
            x: what
        """
        return "7"


def half_right(completions: Any, **_: Any) -> list[float]:
    return [float(i % 2) for i in range(len(completions))]


@pytest.mark.parametrize(
    "parts", [{"tools": [look]}, {"environment_factory": Room}], ids=["tools", "environments"]
)
def test_tools_and_environments_train_in_context(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]
):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    tokenizer = load_tokenizer()
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    trainer = make_trainer(
        "paper",
        kind=Spy,
        max_steps=3,
        max_completion_length=8,
        max_prompt_tokens=500,
        options={"processing_class": tokenizer, "reward_funcs": half_right, **parts},
    )
    trainer.train()
    assert trainer.state.global_step == 3
    receipts = [sum(trainer.logged(f"lanpo/receipts_{s}")) for s in ("added", "failed")]
    assert sum(receipts) > 0, "summaries were asked for"


def test_a_rollout_function_of_ones_own(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    seen: list[str] = []

    def rollout(prompts: Any, trainer: Any) -> dict[str, Any]:
        seen.extend(p[0]["content"] for p in prompts)
        ids = trainer._tokenize_prompts(prompts)[0]
        completions, _ = trainer._generate_single_turn(ids, None, {}, 1)
        return {
            "prompt_ids": ids,
            "completion_ids": completions,
            "logprobs": [[0.0] * len(c) for c in completions],
        }

    trainer = make_trainer("paper", kind=Spy, max_steps=6, options={"rollout_func": rollout})
    trainer.train()
    assert any("hint " in prompt for prompt in seen), "guidance reached the rollouts"
    assert len(pool_of(trainer)) > 0


# ---------------------------------------------------------------------- cut, unscored, reused


class Cut(Spy):
    """The first completion of every batch never ends."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any) -> Any:
        completions, logprobs = super()._generate_single_turn(prompt_ids, *args)
        if self.generation_config.max_new_tokens == self.max_completion_length:
            completions[0] = [completions[0][0]] * self.max_completion_length
        return completions, logprobs


def test_completions_that_are_cut_and_masked_do_not_stop_the_distilling_term(
    make_trainer: MakeTrainer,
):
    trainer = make_trainer("recommended", kind=Cut, max_steps=8, mask_truncated_completions=True)
    trainer.train()
    assert sum(trainer.logged("lanpo/distilled_rows")) > 0
    masked = [b for b in trainer.batches if "lanpo_advantages" in b]
    assert masked
    assert all(b["lanpo_advantages"][0] == 0 for b in masked)
    assert all(not b["completion_mask"][0].any() for b in masked)
    lengths = trainer.logged("lanpo/length_scratch")
    means = trainer.logged("completions/mean_length")
    assert lengths[0] == pytest.approx(means[0]), "cut ones were counted with length 0"


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_rows_nobody_scored_stay_unscored_under_the_header_bonus(
    make_trainer: MakeTrainer, preset: str
):
    def fussy(completions: Any, **_: Any) -> list[float | None]:
        return [None if i % 8 == 0 else float(i % 2) for i, _ in enumerate(completions)]

    trainer = make_trainer(
        preset,
        kind=Spy,
        max_steps=2,
        options={"prompts": EnglishPrompts(), "reward_funcs": fussy},
    )
    assert trainer.reward_func_names[-1] == "section_headers"
    trainer.train()
    for batch in trainer.batches:
        assert all(x == 0 for x in batch["advantages"][::8].tolist())
    assert trainer.logged("reward")[0] == pytest.approx(4 / 7)


def test_settings_are_the_callers_and_serve_a_second_trainer(make_config: Any):
    task = make_hidden_constants(0)
    config = make_config("paper", reward_weights=[2.0])
    for _ in range(2):
        trainer = Spy(
            load_policy(),
            [as_reward(task.reward)],
            config,
            train_dataset=task.dataset("train"),
            processing_class=load_tokenizer(),
            reward_processing_classes=[None],
        )
        assert len(trainer.reward_weights) == 2
    assert config.reward_weights == [2.0]


def test_without_guidance_reward_functions_get_what_trl_gives_them(make_trainer: MakeTrainer):
    given: set[str] = set()

    def strict(
        prompts: Any,
        completions: Any,
        completion_ids: Any,
        trainer_state: Any,
        log_extra: Any,
        log_metric: Any,
        problem: Any,
        problem_id: Any,
        family: Any,
        answer: Any,
    ) -> list[float]:
        given.add("called")
        return [0.0 for _ in completions]

    make_trainer("grpo", max_steps=1, options={"reward_funcs": strict}).train()
    assert given


def test_the_table_shows_the_advantages_that_train(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended", kind=Spy, max_steps=5)
    trainer.train()
    assert trainer.plans[-1].guided_PG.any()
    shown = list(trainer._logs["advantages"])[-32:]
    assert shown == pytest.approx(trainer.batches[-1]["advantages"].tolist())


def test_the_table_of_an_evaluation_has_its_own_rows(make_trainer: MakeTrainer):
    task = make_hidden_constants(0)
    trainer = make_trainer(
        "recommended",
        kind=Spy,
        eval_strategy="steps",
        eval_steps=4,
        per_device_eval_batch_size=16,
        max_steps=4,
        log_completions=True,
        options={"eval_dataset": task.dataset("held_out").select(range(2))},
    )
    trainer.train()
    last = max((Path(trainer.args.output_dir) / "completions").glob("*.parquet"))
    table = pd.read_parquet(last).tail(16)
    assert {*table["guidance"]} == {"none"}
    assert {*table["experiences"]} == {""}


def test_a_memory_of_ones_own_has_no_canary(make_trainer: MakeTrainer):
    pool = ExperiencePool()
    own = PoolAdapter(pool, guide=Guide(pool, prompts=TinyPrompts()), seed=42)
    assert make_trainer("recommended", options={"memory": own})._lanpo_canary is None
    assert make_trainer("recommended")._lanpo_canary is not None
