"""Batches for a language model: padding, its state while it is lent, and too little memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

__all__ = ["in_batches", "left_padded", "lent", "padding"]

Row = TypeVar("Row")
Result = TypeVar("Result")
_NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def padding(tokenizer: Any, ends: Sequence[int]) -> int:
    """Return the tokenizer's padding token; without one any will do, because padding is masked."""
    known = (tokenizer.pad_token_id, *ends)
    return next((int(token) for token in known if token is not None), 0)


def left_padded(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, both (rows, longest row): the ends of all rows are aligned."""
    import torch

    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@contextlib.contextmanager
def lent(model: Any) -> Iterator[None]:
    """Evaluation mode, no gradients and none of the shipped generation settings, for a while.

    `generate` fills whatever a caller leaves open from `model.generation_config`: temperature,
    top-p and penalties would leak in from there.
    """
    import torch
    from transformers import GenerationConfig

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    shipped, inner.generation_config = inner.generation_config, GenerationConfig()
    modes = [(module, module.training) for module in model.modules()]
    model.train(mode=False)
    try:
        # Not inference mode: buffers that a model caches in it would break a later training step.
        with torch.no_grad():
            yield
    finally:
        inner.generation_config = shipped
        for module, training in modes:
            module.training = training


def in_batches(
    rows: Sequence[Row], size: int, run: Callable[[Sequence[Row]], Sequence[Result]]
) -> Iterator[tuple[Sequence[Row], Sequence[Result] | None]]:
    """Run rows in order, `size` at a time; yield each batch with its results.

    A batch that does not fit into memory is halved. `None` is the result of a single row that
    does not fit. Give the longest rows first: if they fit, all do.
    """
    start, now = 0, size
    while start < len(rows):
        batch = rows[start : start + now]
        results = _tried(run, batch)
        if results is None and len(batch) > 1:
            now = len(batch) // 2
            continue
        yield batch, results
        start += len(batch)
        if results is None:  # one giant: the rows behind it are shorter
            now = size


def _tried(
    run: Callable[[Sequence[Row]], Sequence[Result]], batch: Sequence[Row]
) -> Sequence[Result] | None:
    import torch

    try:
        return run(batch)
    except RuntimeError as error:
        lacking = any(sign in str(error) for sign in _NO_MEMORY)
        if not (lacking or isinstance(error, torch.OutOfMemoryError)):
            raise
    # Only here, behind the error, are the tensors of the failed try free.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
