"""Combinations of settings that make no sense, each with its reason and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lanpo_rl.config import LanpoConfig

__all__ = ["nonsense"]


def nonsense(config: LanpoConfig) -> Iterator[str]:
    """Yield what cannot be meant, as sentences that name the remedy."""
    yield from _schedule(config)
    if config.guides:
        yield from _layout(config)
        yield from _advantages(config)
    yield from _gate(config)
    yield from _summaries(config)
    if config.use_liger_kernel and config.use_cpu:
        yield "use_liger_kernel needs a GPU: Liger's kernels are written in Triton; leave it out"


def _schedule(config: LanpoConfig) -> Iterator[str]:
    if (config.feedback_ratio_end is None) != (config.feedback_ratio_steps is None):
        yield "feedback_ratio_end and feedback_ratio_steps belong together: give both or none"


def _layout(config: LanpoConfig) -> Iterator[str]:
    if config.group_layout != "mixed":
        return
    guided, group = config.guided_per_group, int(config.num_generations)
    if not 0 < guided < group:
        yield (
            f"guided_fraction {config.guided_fraction} of {group} generations leaves one half of a "
            "mixed group empty; use group_layout='shared' or more generations"
        )
    elif guided == 1 and config.objective == "in_context":
        yield (
            f"guided_fraction {config.guided_fraction} of {group} generations guides one rollout: "
            "it is its own baseline and teaches nothing in context; guide two or more, or use "
            "objective='both'"
        )
    elif group - guided == 1:
        yield (
            f"guided_fraction {config.guided_fraction} of {group} generations leaves one scratch "
            "rollout: it is its own baseline and never learns; use a smaller fraction or more "
            "generations"
        )
    if config.use_vllm and config.vllm_mode == "server":
        yield (
            "vLLM server mode samples one prompt for a whole group: use group_layout='shared', or "
            "vllm_mode='colocate'"
        )


def _advantages(config: LanpoConfig) -> Iterator[str]:
    if config.distills and not config.distill_weight > 0:
        yield (
            f"distill_weight must be above 0 for objective {config.objective!r}, got "
            f"{config.distill_weight}; without a distilling term use objective='in_context'"
        )
    if config.reshapes_advantages and (
        config.scale_rewards == "batch"
        or config.multi_objective_aggregation != "sum_then_normalize"
    ):
        yield (
            "mixed groups and the distilling term need scale_rewards 'group' or 'none' and "
            "multi_objective_aggregation 'sum_then_normalize'"
        )


def _gate(config: LanpoConfig) -> Iterator[str]:
    if config.gate != "always" and config.mode == "none":
        yield f"gate {config.gate!r} has nothing to open in mode none; leave it at 'always'"
    always = config.feedback_ratio == 1.0 and config.feedback_ratio_end in (None, 1.0)
    if config.gate == "when_failing" and config.group_layout == "shared" and always:
        yield (
            "gate 'when_failing' in shared groups goes by groups without guidance, and with "
            "feedback_ratio=1 there are none; lower it, or use group_layout='mixed'"
        )
    if config.gate == "all_wrong":
        if config.mode == "inter":
            yield (
                "gate 'all_wrong' shows a fresh attempt: use mode 'intra' or 'both', or, for "
                "experiences of other problems, gate 'when_failing'"
            )
        if config.group_layout != "mixed":
            yield (
                "gate 'all_wrong' reflects on scratch rollouts of the same group, and a shared "
                "group has none: use group_layout='mixed'"
            )
    if config.reflect_on_right and config.gate != "all_wrong":
        yield (
            f"reflect_on_right is a share of what gate 'all_wrong' keeps out; gate {config.gate!r} "
            "does not look for fresh attempts: leave it at 0"
        )


def _summaries(config: LanpoConfig) -> Iterator[str]:
    if config.summarizer_weights == "frozen" and (
        not config.summarise or config.mode == "intra" or config.summarizer == "extractive"
    ):
        yield (
            "summarizer_weights='frozen' copies the policy for summaries, and this run has none "
            "written by a model; use 'current'"
        )
