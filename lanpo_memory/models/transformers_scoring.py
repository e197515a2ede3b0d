"""How likely a language model finds given answers: log-probabilities from forward passes."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lanpo_memory.models.transformers_batches import left_padded

if TYPE_CHECKING:
    import torch

__all__ = ["ChoiceRow", "choice_rows", "forward"]


class ChoiceRow(NamedTuple):
    """A prompt, the tokens that some choices begin with, and for each the token it ends with."""

    place: int
    ids: list[int]
    start: tuple[int, ...]
    last: dict[int, int]


def choice_rows(
    place: int, prompt: Sequence[int], choices: Sequence[Sequence[int]]
) -> list[ChoiceRow]:
    """Return one row for all choices that differ in their last token alone, such as yes and no."""
    rows: defaultdict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
    for i, (*start, last) in enumerate(choices):
        rows[tuple(start)][i] = last
    return [ChoiceRow(place, [*prompt, *start], start, last) for start, last in rows.items()]


def forward(model: Any, batch: Sequence[ChoiceRow], pad: int) -> list[list[float]]:
    """Return for each row the log-probabilities (nats) of its choices, from one forward pass."""
    ids, mask = left_padded([row.ids for row in batch], pad, model.device)
    keep = 1 + max(len(row.start) for row in batch)
    options = {
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        "logits_to_keep": keep,  # the vocabulary times the whole prompt would be gigabytes
        "use_cache": False,
    }
    known = _arguments(model)
    given = {name: value for name, value in options.items() if name in known}
    logits = model(input_ids=ids, attention_mask=mask, **given).logits
    logprobs = logits[:, -keep:].float().log_softmax(-1)
    return [
        _summed(row, table[keep - 1 - len(row.start) :])
        for row, table in zip(batch, logprobs, strict=True)
    ]


def _arguments(model: Any) -> Iterable[str]:
    """Names that the forward method takes; of a wrapped model, the method inside."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(inner.forward).parameters


def _summed(row: ChoiceRow, table: torch.Tensor) -> list[float]:
    """Add up a row's choices; the table is (choice tokens, vocabulary)."""
    start = sum(float(table[i, token]) for i, token in enumerate(row.start))
    ends: list[float] = table[-1, list(row.last.values())].tolist()
    return [start + end for end in ends]
