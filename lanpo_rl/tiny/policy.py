"""The tiny policy as shipped: seeded weights, and what is needed to run and to save them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Messages, fingerprint
from lanpo_rl.tiny.alphabet import VOCABULARY
from lanpo_rl.tiny.model import build_model
from lanpo_rl.tiny.tokenizer import build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "WEIGHTS",
    "generate_texts",
    "load_policy",
    "load_tokenizer",
    "read_weights",
    "save_policy",
    "write_weights",
]

WEIGHTS = Path(__file__).with_name("seeded.safetensors")
"""The shipped weights, made by `lanpo_rl.seeding.seed_tiny_policy()`."""


def load_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer that belongs to the shipped weights."""
    return build_tokenizer()


def load_policy(weights: Path = WEIGHTS) -> PreTrainedModel:
    """Return a fresh copy of the seeded policy (float32, on the CPU, in evaluation mode).

    Raises:
        ConfigError: the weights were made for another alphabet.
    """
    model = build_model(load_tokenizer())
    read_weights(model, weights)
    model.train(mode=False)
    return model


def save_policy(folder: Path, model: PreTrainedModel | None = None) -> Path:
    """Write a model (default: the shipped one) and its tokenizer as a Hugging Face folder.

    Code that wants a path can then use it. Still pass the tokenizer itself along, as
    `processing_class`: `AutoTokenizer` puts the rules of Qwen2 in place of those in the folder,
    and the words fall apart. `PreTrainedTokenizerFast.from_pretrained(folder)` reads it right.
    """
    (load_policy() if model is None else model).save_pretrained(folder)
    load_tokenizer().save_pretrained(folder)
    return folder


def write_weights(
    model: PreTrainedModel, path: Path, vocabulary: Sequence[str] = VOCABULARY
) -> None:
    """Write a model's weights, each tensor once, with the mark of the alphabet they belong to."""
    from safetensors.torch import save_file

    by_place: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        by_place.setdefault(tensor.data_ptr(), (name, tensor))
    tensors = {name: tensor.contiguous() for name, tensor in by_place.values()}
    about = {"format": "pt", "alphabet": fingerprint(*vocabulary)}
    save_file(tensors, path, metadata=about)


def read_weights(
    model: PreTrainedModel, path: Path, vocabulary: Sequence[str] = VOCABULARY
) -> None:
    """Fill a model with weights from `write_weights`.

    Raises:
        ConfigError: the weights were made for another alphabet or network.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("alphabet") != fingerprint(*vocabulary):
            raise ConfigError(
                f"{path} was made for another alphabet; make it anew with seed_tiny_policy()"
            )
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    own = model.state_dict()
    alike = all(name in own and own[name].shape == tensors[name].shape for name in tensors)
    filled = {own[name].data_ptr() for name in tensors if name in own}
    if not alike or any(tensor.data_ptr() not in filled for tensor in own.values()):
        raise ConfigError(f"{path} holds the weights of another network than {type(model)}")
    model.load_state_dict(tensors, strict=False)  # what is missing shares a tensor that is there


def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Messages],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    batch_size: int = 256,
    seed: int = 0,
) -> list[str]:
    """Answer each conversation with at most `max_new_tokens` tokens, in order.

    Greedy at temperature 0. Sampling draws from `seed`: the same call gives the same texts.
    Torch's random state and the model's train or eval mode are as before afterwards.
    """
    import torch

    device: torch.device = model.device
    training = model.training
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0}
    if temperature > 0:
        settings["temperature"] = temperature
    texts: list[str] = []
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model.train(mode=False)
        try:
            for start in range(0, len(prompts), batch_size):
                batch = prompts[start : start + batch_size]
                texts += _generate_batch(model, tokenizer, batch, settings)
        finally:
            model.train(training)
    return texts


def _generate_batch(
    model: Any, tokenizer: Any, prompts: Sequence[Messages], settings: dict[str, Any]
) -> list[str]:
    rendered = tokenizer.apply_chat_template(
        list(prompts), tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(
        rendered,
        add_special_tokens=False,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        return_token_type_ids=False,
    ).to(model.device)
    tokens = model.generate(**inputs, **settings)
    completions = tokens[:, inputs["input_ids"].shape[1] :]
    texts: list[str] = tokenizer.batch_decode(completions, skip_special_tokens=True)
    return texts
