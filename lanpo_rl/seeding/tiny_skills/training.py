"""Supervised seeding: how a tiny policy learns to read and write its own feedback.

The aim is literacy, not accuracy (arXiv 2510.16552 §4): summarise a rollout, use hints from other
problems, check an earlier attempt. The examples come from templates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from lanpo_rl.seeding.tiny_skills import chains, constants
from lanpo_rl.seeding.tiny_skills.drawing import Lesson, Mixture, draw_from
from lanpo_rl.tiny.alphabet import VOCABULARY
from lanpo_rl.tiny.model import Family, Size, build_model
from lanpo_rl.tiny.tokenizer import build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["SHIPPED_SKILLS", "STEPS", "Progress", "draw_lessons", "seed_tiny_policy"]

Progress = Callable[[int, float], None]
"""Called with the step (1-based) and its loss."""

STEPS = 2000
"""Steps that made the shipped weights."""

# Whether a hint names the problem's family is learned late and all at once. More noise among the
# hints, or an answer to be copied from the prompt as a further skill, delayed it past these steps.
SHIPPED_SKILLS: Mixture = (
    (constants.draw_solve, 0.08),
    (constants.draw_relevant, 0.34),
    (constants.draw_irrelevant, 0.06),
    (constants.draw_summary, 0.17),
    (chains.draw_solve, 0.15),
    (chains.draw_check, 0.20),
)
"""What the shipped policy was taught."""


def draw_lessons(count: int, rng: random.Random) -> list[Lesson]:
    """Draw examples of all the shipped policy's skills."""
    return draw_from(SHIPPED_SKILLS, count, rng)


def seed_tiny_policy(
    *,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = 80,
    learning_rate: float = 2e-3,
    skills: Mixture = SHIPPED_SKILLS,
    vocabulary: Sequence[str] = VOCABULARY,
    family: Family = "qwen2",
    size: Size = "small",
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Train a tiny policy from nothing, on one CPU thread, on the completions only.

    The same arguments give the same policy on the same machine.
    """
    import torch

    tokenizer = build_tokenizer(vocabulary)
    model = build_model(tokenizer, seed=seed, family=family, size=size)
    rng = random.Random(f"seeding {seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_cosine, steps))
    model.train()
    with _one_thread():
        for step in range(1, steps + 1):
            lessons = draw_from(skills, batch_size, rng)
            loss = _accumulate(model, tokenizer, lessons)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if progress is not None:
                progress(step, loss)
    model.train(mode=False)
    return model


def _cosine(steps: int, step: int) -> float:
    warmup = min(1.0, (step + 1) / 50)
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Kernels this small lose more by sharing than they gain."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _accumulate(model: Any, tokenizer: Any, lessons: Sequence[Lesson], parts: int = 4) -> float:
    """Add up the gradients of the mean loss of a completion token; return that loss.

    Lessons of like length go together, for padding would cost as much as text.
    """
    encoded = sorted(_encode(tokenizer, lessons), key=lambda pair: len(pair[0]) + len(pair[1]))
    tokens = sum(len(completion) for _, completion in encoded)
    size = math.ceil(len(encoded) / parts)
    total = 0.0
    for start in range(0, len(encoded), size):
        loss: Any = (
            _summed_loss(model, encoded[start : start + size], tokenizer.pad_token_id) / tokens
        )
        loss.backward()
        total += loss.item()
    return total


def _encode(tokenizer: Any, lessons: Sequence[Lesson]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer.apply_chat_template(
        [lesson.messages for lesson in lessons], tokenize=False, add_generation_prompt=True
    )
    completions = [lesson.completion + tokenizer.eos_token for lesson in lessons]
    ids = [tokenizer(texts, add_special_tokens=False).input_ids for texts in (prompts, completions)]
    return list(zip(*ids, strict=True))


def _summed_loss(
    model: Any, encoded: Sequence[tuple[list[int], list[int]]], pad: int
) -> torch.Tensor:
    """Return the summed loss of the completion tokens; rows are padded on the right.

    Causal attention never looks at padding behind the text, so no mask is needed.
    """
    import torch
    from torch.nn.functional import cross_entropy

    length = max(len(prompt) + len(completion) for prompt, completion in encoded)
    ids = torch.full((len(encoded), length), pad)
    labels = torch.full((len(encoded), length), -100)
    for row, (prompt, completion) in enumerate(encoded):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : end] = ids[row, len(prompt) : end]
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
