"""What a loaded language model is: its fingerprint, its end tokens, the length of its context."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lanpo_memory.models.transformers_loading import Loaded
from lanpo_memory.types import fingerprint

if TYPE_CHECKING:
    import torch

__all__ = ["context_length", "end_ids", "identity"]

# Parts of a config that say nothing of how likely an answer is, or that trainers and loaders set.
_PASSING = {
    *("transformers_version", "_name_or_path", "architectures", "dtype", "use_cache"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
}
_PROBE = "Is 7 × 8 = 56?\n  Yes, because x² + 1 ≥ \\frac{3}{4}; bako 8_6 (No.)"
_SAMPLES = 64
_SCATTER = 2_654_435_761  # a prime: multiples of it, modulo a size, fall all over a tensor


def context_length(model: Any, tokenizer: Any) -> int | None:
    """Return the most tokens of prompt and completion together; `None` where nothing says."""
    config = model.config.get_text_config()
    # A tokenizer that does not know says 10^30.
    stated = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min((int(n) for n in stated if n is not None and 0 < n < 10**12), default=None)


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends an answer: those the model was shipped with, and the chat's."""
    shipped = getattr(model.generation_config, "eos_token_id", None)
    listed = shipped if isinstance(shipped, list | tuple) else [shipped]
    return list(dict.fromkeys(i for i in (*listed, tokenizer.eos_token_id) if i is not None))


def identity(loaded: Loaded) -> str:
    """Return a name that differs where answers may differ: weights, numbers, template, tokens.

    A few values of every tensor stand for the weights, so that asking is cheap; they are read
    anew each time, because a model handed over may be under training.
    """
    model, tokenizer, name = loaded
    probe = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    parts = (
        f"transformers:{name}",
        f"config={fingerprint(_settings(model))}",
        f"weights={fingerprint(*_weights(model))}",
        f"template={fingerprint(str(tokenizer.chat_template), str(probe))}",
        str(model.dtype).removeprefix("torch."),
    )
    return ":".join(parts)


def _settings(model: Any) -> str:
    kept = {k: v for k, v in model.config.to_diff_dict().items() if k not in _PASSING}
    return json.dumps(kept, sort_keys=True, default=str)


def _weights(model: Any) -> Iterator[str]:
    """Names and shapes of all tensors, then some of their values, moved in one go per device."""
    import torch

    samples: dict[torch.device, list[torch.Tensor]] = {}
    for key, tensor in model.named_parameters():
        yield f"{key}{list(tensor.shape)}"
        if tensor.numel() and tensor.device.type != "meta":
            samples.setdefault(tensor.device, []).append(_sample(tensor.detach()))
    for values in samples.values():
        yield torch.cat(values).cpu().numpy().tobytes().hex()


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    some = torch.arange(_SAMPLES, device=tensor.device) * _SCATTER % tensor.numel()
    return tensor.flatten()[some].float()
