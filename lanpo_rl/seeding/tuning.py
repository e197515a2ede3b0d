"""Supervised training on lessons with TRL, on the completions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import ConfigError, InvalidInputError, positive
from lanpo_rl.seeding.lessons import WrittenLesson

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["Trained", "build_sft_trainer", "check_end", "count_tokens", "train_on_lessons"]

Steps = Callable[[int, int, float], None]
"""Called after each step with its number (1-based), the number of all, and its loss."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training took and how it went: the loss of every step, per completion token."""

    used: int
    left_out: int
    losses: tuple[float, ...]


def count_tokens(tokenizer: Any, lesson: WrittenLesson) -> int:
    """Return how many tokens a lesson has in the model's chat format, prompt and completion."""
    row = lesson.row()
    rendered = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    return len(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def train_on_lessons(
    model: Any,
    tokenizer: Any,
    lessons: Sequence[WrittenLesson],
    folder: Path,
    *,
    progress: Steps | None = None,
    **settings: Any,
) -> Trained:
    """Train a model on lessons, save it with its tokenizer to `folder`, say what was used.

    The model trains in float32 weights (mixed precision where there is a GPU) and is saved in the
    precision it came in. The folder appears when all of it is written.

    Args:
        model: a causal language model; it is changed.
        tokenizer: with a chat template.
        lessons: what to learn.
        folder: is not there yet.
        progress: is told of every step.
        settings: those of `build_sft_trainer`.

    Raises:
        ConfigError, InvalidInputError: as `build_sft_trainer`; or `folder` is there already.
    """
    if folder.exists():
        raise ConfigError(f"{folder} is there already; move it, or name another folder")
    dtype = model.dtype
    trainer, left_out = build_sft_trainer(
        model.float(), tokenizer, lessons, folder.with_name(f"{folder.name}.part"), **settings
    )
    if progress is not None:
        trainer.add_callback(_follower(progress))
    trainer.train()
    trainer.model.to(dtype)
    trainer.save_model()  # the tokenizer, too
    Path(trainer.args.output_dir).rename(folder)
    losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return Trained(used=len(trainer.train_dataset), left_out=left_out, losses=losses)


def build_sft_trainer(
    model: Any,
    tokenizer: Any,
    lessons: Sequence[WrittenLesson],
    folder: Path,
    *,
    epochs: float = 1.0,
    max_steps: int | None = None,
    batch_size: int = 64,
    device_batch_size: int = 8,
    learning_rate: float = 1e-5,
    max_length: int = 4096,
    seed: int = 0,
    use_cpu: bool = False,
    eos_token: str | None = None,
) -> tuple[SFTTrainer, int]:
    """Return TRL's trainer, ready to train, and how many lessons were too long for it.

    One epoch in batches of 64 is the paper's (arXiv 2510.16552 §4); it names no learning rate.

    Args:
        model: a causal language model.
        tokenizer: with a chat template.
        lessons: what to learn, shuffled by `seed`.
        folder: TRL's output folder; no checkpoints are written.
        epochs: how often each lesson is seen.
        max_steps: stop after so many steps, whatever the epochs.
        batch_size: lessons of one step.
        device_batch_size: lessons in memory at once; gradients of the others are added up.
        learning_rate: the highest; after 10 % warm-up it falls by a cosine.
        max_length: most tokens of a lesson; a longer one is left out, never cut.
        seed: of the order.
        use_cpu: train there even if there is a GPU.
        eos_token: what ends a turn, where it is not the tokenizer's own end token.

    Raises:
        ConfigError: a setting out of range, or the chat template ends no turn with the end token,
            so that the model could not learn to stop.
        InvalidInputError: no lesson is short enough.
    """
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    _check(epochs, batch_size, device_batch_size, learning_rate, max_length, max_steps)
    fitting = [each for each in lessons if count_tokens(tokenizer, each) <= max_length]
    if not fitting:
        raise InvalidInputError(
            f"none of {len(lessons):,} lessons fits into {max_length:,} tokens; raise --max-length"
        )
    check_end(tokenizer, eos_token)
    at_once = math.gcd(batch_size, device_batch_size)
    steps = math.ceil(len(fitting) / batch_size * epochs) if max_steps is None else max_steps
    on_gpu = torch.cuda.is_available() and not use_cpu
    config = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=epochs,
        max_steps=-1 if max_steps is None else max_steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=batch_size // at_once,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(steps / 10),
        max_length=None,
        completion_only_loss=True,
        eos_token=eos_token,
        seed=seed,
        use_cpu=use_cpu,
        bf16=on_gpu,
        activation_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        save_strategy="no",
    )
    rows = [{name: each.row()[name] for name in ("prompt", "completion")} for each in fitting]
    trainer = SFTTrainer(
        model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, len(lessons) - len(fitting)


def _check(
    epochs: float,
    batch_size: int,
    device_batch_size: int,
    learning_rate: float,
    max_length: int,
    max_steps: int | None,
) -> None:
    positive("batch_size", batch_size)
    positive("device_batch_size", device_batch_size)
    positive("max_length", max_length)
    positive("max_steps", max_steps)
    for name, value in (("epochs", epochs), ("learning_rate", learning_rate)):
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} must be above 0, got {value}")


def check_end(tokenizer: Any, eos_token: str | None = None) -> None:
    """Refuse a chat template after which a model would not learn to stop.

    Raises:
        ConfigError: it ends no answer with the end token; or the tokenizer does not know that.
    """
    end = tokenizer.eos_token if eos_token is None else eos_token
    if end is None or end not in tokenizer.get_vocab():
        raise ConfigError(f"the tokenizer knows no end token {end!r}; name one with --eos-token")
    row = WrittenLesson("", [{"role": "user", "content": "1"}], "2").row()
    rendered = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    if not rendered.rstrip().endswith(end):
        raise ConfigError(
            f"the chat template ends an answer with {rendered[-20:]!r}, not with the end token "
            f"{end!r}, so the model would not learn to stop; name the token that ends a turn with "
            "--eos-token"
        )


def _follower(progress: Steps) -> Any:
    from transformers import TrainerCallback

    class Follower(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            loss = (kwargs.get("logs") or {}).get("loss")
            if loss is not None:
                progress(state.global_step, state.max_steps, float(loss))

    return Follower()
