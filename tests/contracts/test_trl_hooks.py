"""The private places of TRL that the trainer hooks into, pinned.

A failure here means that TRL changed under us. Read `trl/trainer/grpo_trainer.py` at the method
named, compare with the override in `lanpo_rl/trainer.py`, and widen the bound in pyproject.toml
only when every test in tests/rl passes again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import trl
from trl import GRPOConfig, GRPOTrainer

from lanpo_rl.config import LanpoConfig
from lanpo_rl.distilling import SUMMED_LOSSES
from lanpo_rl.trainer import LanpoTrainer

SIGNATURES: dict[str, list[str] | None] = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_tokenize_prompts": ["self", "prompts"],
    "_generate_single_turn": [
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ],
    "_generate": ["self", "prompts"],
    "_compute_loss": ["self", "model", "inputs"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "train": ["self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
    "_save_checkpoint": ["self", "model", "trial"],
    "save_model": ["self", "output_dir", "_internal_call"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "_get_train_sampler": ["self", "dataset"],
    "_get_per_token_logps_and_entropies": None,  # any: what it is given is passed on
}


def source(method: Callable[..., Any]) -> str:
    return inspect.getsource(inspect.unwrap(method))


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str):
    method = getattr(GRPOTrainer, name, None)
    assert method is not None, f"TRL {version('trl')} has no GRPOTrainer.{name} any more"
    if SIGNATURES[name] is None:
        return
    found = list(inspect.signature(inspect.unwrap(method)).parameters)
    assert found == SIGNATURES[name], f"GRPOTrainer.{name} takes {found} in TRL {version('trl')}"


def test_the_tested_version_is_the_bounded_one():
    assert re.match(r"1\.16\.", version("trl")), "widen the bound in pyproject.toml by test"


def test_rows_reach_the_rewards_with_all_their_columns():
    text = source(GRPOTrainer._calculate_rewards)
    assert 'key not in ["prompt", "completion", "completion_ids"]' in text
    assert "rewards_per_func = gather(rewards_per_func)" in text, "rewards are the world's no more"


def test_scoring_comes_after_log_probs_and_uses_the_rows_prompts():
    text = source(GRPOTrainer._generate_and_score_completions)
    assert 'prompts = [x["prompt"] for x in inputs]' in text
    assert text.index("_get_per_token_logps_and_entropies") < text.index("self._calculate_rewards")
    assert '"num_items_in_batch": num_items_in_batch' in text


def test_sampling_in_two_turns_may_change_prompts_between_the_two():
    """The list handed to `_generate` is the one that rewards and logs are computed from."""
    text = source(GRPOTrainer._generate_and_score_completions)
    assert ") = self._generate(prompts)" in text
    after = text.partition(") = self._generate(prompts)")[2]
    assert "self._calculate_rewards(inputs, prompts, completions" in after
    assert "prompts = copy.deepcopy(prompts)" in source(GRPOTrainer._generate)
    returned = "prompt_ids, completion_ids, tool_mask, completions, logprobs, extra_fields"
    assert f"return {returned}" in source(GRPOTrainer._generate)


def test_entropies_come_with_the_loss():
    text = source(GRPOTrainer._compute_loss)
    assert re.search(r"entropies, aux_loss = self\._get_per_token_logps_and_entropies\(", text)
    assert "compute_entropy=True" in text


def test_extra_columns_of_the_completion_table_are_added_while_scoring():
    text = source(GRPOTrainer._generate_and_score_completions)
    assert text.index("self._calculate_rewards(") < text.index("self._pending_extra_logs.get(")
    assert "extend(values)" in source(GRPOTrainer._log_completion_extra)


def test_the_sampler_draws_an_order_each_epoch_from_its_own_generator():
    from trl.trainer.utils import RepeatSampler

    text = source(RepeatSampler.__iter__)
    assert "torch.randperm(self.num_samples, generator=self.generator)" in text


def test_older_checkpoints_are_deleted_after_everything_is_saved():
    from transformers import Trainer

    text = source(Trainer._save_checkpoint)
    assert text.index("TRAINER_STATE_NAME") < text.index("rotate_checkpoints")


def test_extra_keys_of_the_batch_are_shuffled_and_split_along():
    text = source(GRPOTrainer._prepare_inputs)
    assert text.index("shuffle_sequence_dict") < text.index("split_tensor_dict")


def test_completion_length_is_where_it_is_set():
    text = source(GRPOTrainer._generate_single_turn)
    assert "generation_config=self.generation_config" in text
    assert "self.vllm_generation.generate" in text


@pytest.mark.parametrize(
    "name",
    [
        "_metrics",
        "beta",
        "_entropy_bonus_enabled",
        "aux_loss_enabled",
        "use_vllm",
        "off_policy_mask_threshold",
        "top_entropy_quantile",
    ],
)
def test_what_the_plain_loss_switches_off_is_what_the_loss_reads(name: str):
    assert f"self.{name}" in source(GRPOTrainer._compute_loss)


def test_losses_that_may_leave_rows_out_are_sums_over_the_whole_batch():
    text = source(GRPOTrainer._compute_loss)
    found = re.search(r"elif self\.loss_type in \[([^\]]*)\]:\n\s+# `num_items_in_batch`", text)
    assert found is not None
    assert set(re.findall(r'"(\w+)"', found.group(1))) == SUMMED_LOSSES


def test_no_name_of_ours_hides_one_of_trls():
    classes = [c for c in LanpoTrainer.__mro__ if c.__module__.startswith("lanpo_rl.")]
    ours = {n for c in classes for n in (*vars(c), *c.__annotations__) if not n.startswith("__")}
    ours -= set(SIGNATURES)
    taken = {n for n in ours - {"args"} if hasattr(GRPOTrainer, n)}
    assert not taken, f"LanpoTrainer hides {taken} of TRL"
    own = {n for n in ours if not n.startswith("_lanpo_")}
    assert own == {"args", "memory", "policy", "summary_model"}


def test_no_setting_of_ours_changes_the_meaning_of_one_of_trls():
    ours = set(LanpoConfig.__annotations__) - {"PRESETS"}
    shared = ours & set(GRPOConfig.__dataclass_fields__)
    assert shared == {"beta", "loss_type", "remove_unused_columns"}


def test_the_extra_keys_do_not_collide_with_trls():
    assert "lanpo_" not in inspect.getsource(trl.trainer.grpo_trainer)


def test_vllm_reads_length_and_temperature_anew_in_each_call():
    """`PolicyModel` sets both for a summary, and no test here can run vLLM."""
    from trl.generation.vllm_generation import VLLMGeneration

    text = source(VLLMGeneration.generate)
    assert "temperature = self.temperature" in text
    assert "max_completion_length = self.max_completion_length" in text


@pytest.mark.parametrize(
    "name", ["_tokenizer", "eos_token_ids", "_pending_extra_logs", "_step", "max_completion_length"]
)
def test_names_that_are_read(name: str):
    assert f"self.{name}" in inspect.getsource(trl.trainer.grpo_trainer), name
