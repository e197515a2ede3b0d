"""Whether the parts of a run go together: what can be seen only where they meet.

What settings alone show is in `lanpo_rl.combinations`.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_rl.callbacks import micro_steps
from lanpo_rl.config import LanpoConfig

__all__ = ["check_images", "check_parts", "check_saving", "check_size"]

_PARTS = (  # name, what it must be able to do, what would do
    ("memory", "prepare", "PoolAdapter(pool)"),
    ("prompts", "sections", "EnglishPrompts()"),
    ("alarms", "figures", "Alarms([...])"),
)


def check_parts(args: LanpoConfig, given: dict[str, Any]) -> None:
    """Refuse what is no such part, and what TRL can do but our losses or turns cannot."""
    for name, method, example in _PARTS:
        part = given.get(name)
        if part is not None and not callable(getattr(part, method, None)):
            raise ConfigError(
                f"{name} has no method {method!r}: give an object, such as {example}; "
                f"got {part!r:.60}"
            )
    with_tools = [
        name
        for name in ("tools", "rollout_func", "environment_factory")
        if given.get(name) is not None
    ]
    if with_tools and args.distills:
        raise ConfigError(
            f"objective {args.objective!r} distils completions, and with {with_tools[0]} parts of "
            "them are not the policy's own; use objective='in_context'"
        )
    if with_tools and args.samples_in_turns:
        raise ConfigError(
            f"gate {args.gate!r} samples each group in two turns, and {with_tools[0]} wants it in "
            "one; use gate='always'"
        )


def check_images(args: LanpoConfig, row: dict[str, Any]) -> None:
    """Refuse rows with images where prompts are made of text alone."""
    if (args.distills or args.samples_in_turns) and {"image", "images"} & set(row):
        raise ConfigError(
            "rows with images train with objective='in_context' and gate='always' only: bare "
            "prompts and second turns are made of text"
        )


def check_size(args: LanpoConfig, dataset: Any, name: str = "the training set") -> None:
    """Refuse fewer rows than one batch takes: the run would end at once, as if it had trained."""
    needed = (args.generation_batch_size or 1) // (args.num_generations or 1)
    if isinstance(dataset, Sized) and len(dataset) < needed:
        raise InvalidInputError(
            f"{name} holds {len(dataset)} problems, but one batch takes {needed}; add some, lower "
            "per_device_train_batch_size, or raise num_generations"
        )


def check_saving(args: LanpoConfig) -> None:
    """Where rollouts last longer than a step, checkpoints may have to wait: some cannot."""
    slices, each = micro_steps(args), int(args.gradient_accumulation_steps)
    if each % slices == 0:
        return
    if str(getattr(args.save_strategy, "value", args.save_strategy)) == "best":
        raise ConfigError(
            f"save_strategy='best' cannot wait until rollouts are used up, which takes {slices} "
            f"slices of {each} a step; use save_strategy='steps'"
        )
    steps = args.save_steps
    if args.load_best_model_at_end and (steps < 1 or int(steps) * each % slices):
        raise ConfigError(
            f"load_best_model_at_end needs a checkpoint at every evaluation, and with save_steps="
            f"{steps} some wait until rollouts are used up, after {slices} slices of {each} a "
            f"step; make save_steps x {each} a multiple of {slices}"
        )
