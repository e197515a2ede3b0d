"""What the trainer does between its steps: times, checkpoints on boundaries, alarms."""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback

__all__ = ["Boundaries", "StageTimes", "Watching", "micro_steps"]

_log = logging.getLogger(__name__)


class StageTimes(TrainerCallback):
    """Logs where the time of every step went."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._trainer._lanpo_clock.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the stages; what came after the last backward pass was the optimizer's."""
        trainer = self._trainer
        trainer._lanpo_clock.add("update", time.perf_counter() - trainer._lanpo_stepped)
        for stage, seconds in trainer._lanpo_clock.end().items():
            trainer._lanpo_metric(f"{stage}_ms", 1000 * seconds)


def micro_steps(args: Any) -> int:
    """Backward passes over one generation: after them its rollouts are used up."""
    return int(args.steps_per_generation) * int(args.num_iterations)


class Boundaries(TrainerCallback):
    """Moves checkpoints to where a generation has been used up: nothing half used is lost."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._due, self._said = trainer, False, False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Put a checkpoint off to the next boundary; one at the very end cannot be."""
        # Counted in backward passes: the last step of an epoch may have fewer than the others.
        on_boundary = self._trainer._step % micro_steps(args) == 0
        if on_boundary and self._due:
            control.should_save, self._due = True, False
        elif control.should_save and not on_boundary and state.global_step < state.max_steps:
            control.should_save, self._due = False, True
            self._say(state.global_step)
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """The same for checkpoints of epochs."""
        return self.on_step_end(args, state, control)

    def _say(self, step: int) -> None:
        if not self._said:
            _log.warning(
                "the checkpoint due at step %d waits for the next generation boundary: a run can "
                "only go on where its rollouts are used up",
                step,
            )
        self._said = True


class Watching(TrainerCallback):
    """Hands what is logged to the alarms, and logs what they say."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Which alarms ring, as of the last log: what is added within one is lost."""
        alarms = self._trainer._lanpo_alarms
        if alarms is not None:
            for name, ringing in alarms.figures().items():
                self._trainer._lanpo_metric(name, ringing)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Drive the alarms on the process that logs."""
        alarms = self._trainer._lanpo_alarms
        if alarms is None or not state.is_world_process_zero:
            return
        figures = {
            name.removeprefix("lanpo/"): float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, int | float)
        }
        for name, message in alarms.update(state.global_step, figures):
            rings = alarms.figures()[f"alarm_{name}"]
            word = "alarm" if rings else "note of alarm"
            _log.warning("%s %s at step %d: %s", word, name, state.global_step, message)
