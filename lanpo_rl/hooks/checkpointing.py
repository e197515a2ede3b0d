"""The memory travels with checkpoints, and goes back to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState

from lanpo_memory.errors import ConfigError
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.rewinding import new_mark
from lanpo_memory.stores import shown
from lanpo_rl.callbacks import micro_steps
from lanpo_rl.checkpoints import (
    TRAINER_STATE,
    last_complete,
    load_state,
    restore_memory,
    save_state,
)
from lanpo_rl.collective import from_main
from lanpo_rl.hooks.base import Hooked

__all__ = ["KeepsMemory"]

_log = logging.getLogger(__name__)


class KeepsMemory(Hooked):
    """Saves the memory first of all that is in a checkpoint, and rewinds it on resuming."""

    _lanpo_epochs_before = 0  # whole epochs of the run that is resumed

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Trainer.train`; ``True`` resumes from the newest checkpoint that is whole."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_complete(Path(self.args.output_dir)))
        self._lanpo_epochs_before = 0
        if resume_from_checkpoint:
            self._lanpo_look_at(Path(resume_from_checkpoint))  # before anything is loaded
        elif isinstance(pool := getattr(self._lanpo_memory, "pool", None), ExperiencePool):
            new_mark(pool)  # a new run: checkpoints of another one do not rewind this pool
            if any(Path(self.args.output_dir).glob("checkpoint-*")):
                _log.warning(
                    "%s holds checkpoints of an earlier run, and this one begins anew beside "
                    "them: resume from a checkpoint to go on, or use another folder",
                    self.args.output_dir,
                )
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _lanpo_look_at(self, checkpoint: Path) -> None:
        load_state(checkpoint)
        if not (checkpoint / TRAINER_STATE).is_file():
            raise ConfigError(
                f"{checkpoint} was not written to its end; resume from an earlier one"
            )
        saved = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
        if 0 < self.args.max_steps <= saved.global_step:
            raise ConfigError(
                f"{checkpoint} is at step {saved.global_step}, and max_steps is "
                f"{self.args.max_steps}: there is nothing left to do; raise max_steps to go on"
            )
        epoch = saved.epoch or 0.0
        if not hasattr(self.train_dataset, "__len__") and epoch > 1.0 + 1e-6:
            raise ConfigError(
                f"{checkpoint} is of epoch {epoch:.2f} of a streamed dataset, which can be resumed "
                "within its first epoch only: where it was cannot be told. Use a dataset on disk"
            )
        self._lanpo_epochs_before = int(epoch + 1e-6)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's sampler draws a new order each epoch; on resuming it would begin with the first."""
        sampler = super()._get_train_sampler(dataset)
        generator = getattr(sampler, "generator", None)
        for _ in range(self._lanpo_epochs_before if generator is not None else 0):
            torch.randperm(sampler.num_samples, generator=generator)
        return sampler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # First of all: with it missing nothing of the rest would be of use, and TRL deletes older
        # checkpoints at the end.
        step = int(self.state.global_step)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{step}"

        def save() -> None:
            save_state(folder, self.memory, self._lanpo_state())

        with self._lanpo_clock("persist"):
            from_main(self.accelerator, save)
        with self._lanpo_without_password():
            super()._save_checkpoint(model, trial)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """See `Trainer.save_model`; the settings beside the model do not hold a password."""
        with self._lanpo_without_password():
            super().save_model(*args, **kwargs)

    @contextmanager
    def _lanpo_without_password(self) -> Iterator[None]:
        """Models are handed on, and `training_args.bin` is a pickle of all settings."""
        address = self.args.pool
        self.args.pool = shown(address)
        try:
            yield
        finally:
            self.args.pool = address

    def _lanpo_state(self) -> dict[str, Any]:
        step = int(self.state.global_step)
        return {
            "step": step,
            "aligned": self._step % micro_steps(self.args) == 0,
            "scratch_level": self._lanpo_scratch_level,
            "failing": self._lanpo_failing,
            "lessons": self._lanpo_lessons.state(),
            "alarms": None if self._lanpo_alarms is None else self._lanpo_alarms.state(),
            "canary": None if self._lanpo_canary is None else self._lanpo_canary.state(),
        }

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = load_state(Path(checkpoint))
        self._lanpo_scratch_level = state["scratch_level"]
        self._lanpo_failing = state["failing"]
        self._lanpo_lessons.restore(state["lessons"])
        if self._lanpo_alarms is not None and state["alarms"] is not None:
            self._lanpo_alarms.restore(state["alarms"])
        if self._lanpo_canary is not None and state["canary"] is not None:
            self._lanpo_canary.restore(state["canary"])
        aside = from_main(
            self.accelerator,
            lambda: restore_memory(
                Path(checkpoint),
                self.memory,
                step=state["step"],
                output_dir=Path(self.args.output_dir),
            ),
        )
        if aside is not None:
            _log.warning("what was learned after step %d is in %s", state["step"], aside)
