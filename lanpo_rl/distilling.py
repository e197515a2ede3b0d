"""What is distilled: guided solutions, told again under the bare prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import pad

__all__ = ["SUMMED_LOSSES", "bare_batch", "distilled_slice", "kept_tokens"]

SUMMED_LOSSES = frozenset({"dapo", "cispo", "vespo"})
"""Losses that are a sum over rows divided by a count of the whole batch: rows without weight may
be left out of the second forward pass without changing the others' share."""

_ROWS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")


def kept_tokens(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """Return the tokens of each row that are no padding; ids and mask have shape (n, T)."""
    return [
        [token for token, keep in zip(*row, strict=True) if keep]
        for row in zip(ids.tolist(), mask.bool().tolist(), strict=True)
    ]


def bare_batch(
    prompts: Sequence[Sequence[int]],
    solutions: Sequence[Sequence[int]],
    advantages: Tensor,
    *,
    fill: int,
) -> dict[str, Tensor]:
    """Return the rows of the second loss, to travel with TRL's batch through shuffling and slicing.

    Args:
        prompts: tokens of the bare prompts, one for each of n rows.
        solutions: tokens of what is distilled.
        advantages: distilling advantages, shape (n,), 0 where nothing is distilled.
        fill: the padding token.
    """
    batch = {"lanpo_advantages": advantages}
    for name, rows, side in (("prompt", prompts, "left"), ("completion", solutions, "right")):
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        ones = [torch.ones_like(t) for t in tensors]
        batch[f"lanpo_{name}_ids"] = pad(tensors, fill, side)
        batch[f"lanpo_{name}_mask"] = pad(ones, 0, side)
    return {name: tensor.to(advantages.device) for name, tensor in batch.items()}


def distilled_slice(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """Return `count` rows for the second forward pass: those with weight, the rest as padding."""
    weighty = inputs["lanpo_advantages"] > 0
    rows = weighty.int().argsort(descending=True, stable=True)[:count].sort().values
    bare = {name: inputs[f"lanpo_{name}"][rows] for name in _ROWS}
    return {**bare, "num_items_in_batch": inputs["num_items_in_batch"]}
