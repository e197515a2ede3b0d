"""Advantages as pure functions of a batch of rewards.

Notation: P problems, G rollouts of each (a group). Rewards have shape (P, G); a NaN is a rollout
that could not be scored: it counts for nothing and gets advantage 0. `guided` is a boolean mask of
shape (P, G): which rollouts had guidance in their prompt.

Source: group-normalised advantages, arXiv 2402.03300 §4.1; the in-context objective, arXiv
2510.16552 §3. The distilling term is this project's own; docs say what it was measured to do.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["distill_advantages", "halves_advantages", "zero_variance"]

_EPS = 1e-4  # as in TRL, so that plain groups get the very same advantages


def _masked_mean_std(values_PG: Tensor, mask_PG: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation per row over a mask, shape (P, 1); 0 where empty."""
    mask = mask_PG & ~torch.isnan(values_PG)
    count = mask.sum(1, keepdim=True)
    filled = torch.where(mask, values_PG, torch.zeros_like(values_PG))
    mean = filled.sum(1, keepdim=True) / count.clamp(min=1)
    squares = torch.where(mask, (filled - mean) ** 2, torch.zeros_like(filled))
    return mean, (squares.sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()


def halves_advantages(rewards_PG: Tensor, guided_PG: Tensor, *, scale: bool = True) -> Tensor:
    """Advantages where guided and scratch rollouts of a group are each other's strangers.

    Each half is centred on its own mean and, with `scale`, divided by its own standard deviation.
    A group that is all guided or all scratch is one half: that is plain GRPO. Returns (P, G).

    >>> guided = torch.tensor([[False, False, True, True]])
    >>> halves_advantages(torch.tensor([[0., 1., 1., 1.]]), guided)
    tensor([[-0.7070,  0.7070,  0.0000,  0.0000]])
    """
    advantages = torch.zeros_like(rewards_PG)
    for half_PG in (guided_PG, ~guided_PG):
        mean, std = _masked_mean_std(rewards_PG, half_PG)
        centred = rewards_PG - mean
        advantages = torch.where(half_PG, centred / (std + _EPS) if scale else centred, advantages)
    return torch.nan_to_num(advantages, nan=0.0)


def distill_advantages(
    rewards_PG: Tensor,
    guided_PG: Tensor,
    *,
    weight: float,
    baseline_P: Tensor | None = None,
    scale: bool = True,
) -> Tensor:
    """Weight of each guided rollout in the loss under the bare prompt; 0 for the others.

    w · max(0, (r − mean of the group's scratch rollouts) / std of the whole group): only what beats
    the policy's own unguided level is distilled, and nothing is ever pushed down. `rewards_PG` are
    task rewards, without any bonus for format. A group without scratch rollouts takes its baseline
    from `baseline_P` (shape (P,)) and is not divided. Returns (P, G).

    >>> distill_advantages(torch.tensor([[0., 0., 1., 0.]]),
    ...                    torch.tensor([[False, False, True, True]]), weight=1.0)
    tensor([[0.0000, 0.0000, 1.9996, 0.0000]])
    """
    everyone = torch.ones_like(guided_PG)
    scratch_mean, _ = _masked_mean_std(rewards_PG, ~guided_PG)
    _, std = _masked_mean_std(rewards_PG, everyone)
    scored = ~torch.isnan(rewards_PG)
    has_scratch = (~guided_PG & scored).any(1, keepdim=True)
    baseline = torch.zeros_like(scratch_mean) if baseline_P is None else baseline_P.unsqueeze(1)
    gain = rewards_PG - torch.where(has_scratch, scratch_mean, baseline)
    if scale:
        gain = torch.where(has_scratch, gain / (std + _EPS), gain)
    gain = weight * torch.nan_to_num(gain, nan=0.0).clamp(min=0)
    return torch.where(guided_PG, gain, torch.zeros_like(gain))


def zero_variance(rewards_PG: Tensor, guided_PG: Tensor) -> Tensor:
    """Which groups have guided rollouts that all got the same reward: no in-context gradient.

    Returns a boolean (P,); false for groups without guidance.
    """
    _, std = _masked_mean_std(rewards_PG, guided_PG)
    return (std.squeeze(1) < 1e-8) & guided_PG.any(1)
