"""The tiny policies' networks, built in code: two families, three sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lanpo_memory.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["FAMILIES", "SIZES", "Family", "Size", "build_model"]

Family = Literal["qwen2", "gpt_neox"]
Size = Literal["mini", "small", "large"]


class _Shape(NamedTuple):
    hidden: int
    inner: int
    layers: int
    heads: int


FAMILIES: tuple[Family, ...] = ("qwen2", "gpt_neox")
SIZES: dict[Size, _Shape] = {
    "mini": _Shape(hidden=64, inner=128, layers=3, heads=4),
    "small": _Shape(hidden=128, inner=128, layers=4, heads=4),
    "large": _Shape(hidden=192, inner=384, layers=6, heads=6),
}
"""About 0.15, 0.5 and 2.3 million parameters; the shipped policy is a small Qwen2."""


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    family: Family = "qwen2",
    size: Size = "small",
) -> PreTrainedModel:
    """Build an untrained model (float32) for a tokenizer. Torch's random state is left alone.

    The same seed gives the same weights.

    Raises:
        ConfigError: there is no such family or size.
    """
    import torch

    if family not in FAMILIES or size not in SIZES:
        raise ConfigError(
            f"no tiny policy {family!r} of size {size!r}; families: {', '.join(FAMILIES)}; sizes: "
            f"{', '.join(SIZES)}"
        )
    shape = SIZES[size]
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU alone: no other device is touched
        return _qwen2(settings) if family == "qwen2" else _gpt_neox(settings)


def _qwen2(settings: dict[str, Any]) -> PreTrainedModel:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    heads = settings["num_attention_heads"]
    return Qwen2ForCausalLM(Qwen2Config(**settings, num_key_value_heads=heads))


def _gpt_neox(settings: dict[str, Any]) -> PreTrainedModel:
    """Parallel attention and feed-forward, layer norms with a bias, rotation of a quarter."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(GPTNeoXConfig(**settings))
