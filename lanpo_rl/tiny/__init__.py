"""A policy small enough for a CPU: its alphabet, tokenizer, network, prompts and weights."""

from lanpo_rl.tiny.model import build_model
from lanpo_rl.tiny.policy import generate_texts, load_policy, load_tokenizer, save_policy
from lanpo_rl.tiny.prompts import TinyPrompts
from lanpo_rl.tiny.tokenizer import build_tokenizer

__all__ = [
    "TinyPrompts",
    "build_model",
    "build_tokenizer",
    "generate_texts",
    "load_policy",
    "load_tokenizer",
    "save_policy",
]
