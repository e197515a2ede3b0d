"""How one arm is run: train, evaluate now and then, keep what was measured."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from lanpo_memory.errors import HitRateWarning
from lanpo_memory.pool import open_pool
from lanpo_rl.config import LanpoConfig
from lanpo_rl.memory import build_memory
from lanpo_rl.rewards import as_reward
from lanpo_rl.study.arms import Arm, arm_config
from lanpo_rl.study.controls import Surroundings
from lanpo_rl.study.looking import Look, guide_of
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.study.subjects import Subject
from lanpo_rl.tasks import Task
from lanpo_rl.trainer import LanpoTrainer

__all__ = ["OnStep", "run_arm"]

_STAGES = ("retrieve", "judge", "generate", "reward", "summarise", "persist")
_FILLS = ("summarise", "persist")
OnStep = Callable[[int, int, str], None]
"""Told after each step: step, steps in all, what is going on."""


def run_arm(
    arm: Arm,
    subject: Subject,
    *,
    seed: int,
    steps: int,
    folder: Path,
    policies: Path | None = None,
    evaluate_every: int = 25,
    final: bool = True,
    tokens: int | None = None,
    on_step: OnStep = lambda step, steps, what: None,
) -> ArmResult:
    """Train the subject's policy under an arm; its pool stays as `folder/pool.db`.

    What an earlier run left in the folder is removed first.

    Args:
        arm: how it is trained.
        subject: on what.
        seed: of the task and of the run.
        steps: how long; an arm with steps of its own has the last word.
        folder: where pool and trainer write.
        policies: where policies made on demand are kept; the shipped one needs none.
        evaluate_every: steps between two points of the curve.
        final: ask every inference mode when training has ended.
        tokens: stop after the step that generates the last of so many, if need be after twice the
            steps, for rollouts may be shorter than those of the arm that is matched.
        on_step: told of the progress.

    Raises:
        InvalidInputError: fewer training problems than one step takes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = steps if arm.steps is None else arm.steps
    task, policy = subject.make(seed), arm.policy or subject.policy
    model, tokenizer = policy.load(policies or folder), policy.tokenizer()
    config = arm_config(
        arm,
        subject,
        seed=seed,
        steps=max(steps, 1),
        folder=folder,
        longest=None if tokens is None else 2 * steps,
    )
    result = ArmResult(
        arm.name,
        arm.label,
        seed,
        _settings(config),
        task=subject.name,
        policy=policy.name,
        parameters=int(model.num_parameters()),
    )
    if steps:
        trainer = _trainer(arm, task, config, model, tokenizer)
        model = trainer.accelerator.unwrap_model(trainer.model)
        pool = trainer.memory.pool  # type: ignore[attr-defined]
    else:
        pool = open_pool("memory:")
    look = Look(model, tokenizer, task, subject, guide_of(pool, task, config))
    if steps:
        watcher = _Watcher(look, result, evaluate_every, tokens, config.guides, on_step)
        trainer.add_callback(watcher)
        with warnings.catch_warnings():
            # Where every family has lessons, each problem finding one is what gamma was set for.
            warnings.simplefilter("ignore", HitRateWarning)
            # Meant: the schedule of a matched arm is shorter than it may become.
            warnings.filterwarnings("ignore", "Both num_training_steps and num_stable_steps")
            trainer.train()
        result.stage_seconds = _stages(result, watcher.trained_s)
    else:
        result.curve.append(look.point(step=0, tokens=0, summary_tokens=0, seconds=0.0))
    result.pool, result.pool_digest = pool.stats(), pool.digest()
    if final:
        on_step(steps, steps, "is asked in every mode")
        result.final = look.final(seed)
    pool.close()
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    return result


def _trainer(arm: Arm, task: Task, config: LanpoConfig, model: Any, tokenizer: Any) -> LanpoTrainer:
    around = Surroundings(task, seed=config.seed, steps=config.max_steps)
    memory = build_memory(
        config,
        prompts=task.prompts,
        count_tokens=_counter(tokenizer),
        **arm.control.parts(around),
    )
    trainer = LanpoTrainer(
        model,
        as_reward(task.reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=tokenizer,
        memory=arm.control.wrap(memory, around),
        prompts=task.prompts,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Watcher(TrainerCallback):
    """Evaluates every so often, with the clock stopped, and ends a run that has its tokens."""

    def __init__(
        self,
        look: Look,
        result: ArmResult,
        every: int,
        tokens: int | None,
        pays_for_summaries: bool,
        on_step: OnStep,
    ) -> None:
        self._look, self._result = look, result
        self._every, self._most, self._on_step = every, tokens, on_step
        self._pays_for_summaries = pays_for_summaries
        self._started = time.perf_counter()
        self.trained_s = 0.0
        self._rollout_tokens = self._summary_tokens = 0
        self._unread_s = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_step(0, state.max_steps, "starts")
        self._result.curve.append(self._point(0))
        self._started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        numbers = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if "lanpo/completion_tokens" in numbers:
            self._result.log.append({"step": state.global_step, **numbers})
            self._rollout_tokens += int(numbers["lanpo/completion_tokens"])
            self._summary_tokens += int(numbers["lanpo/summary_tokens"])
            self._unread_s += sum(numbers.get(f"lanpo/{stage}_ms", 0.0) for stage in _FILLS) / 1000
            if self._most is not None and self._tokens >= self._most:
                control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_step(state.global_step, state.max_steps, "trains")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Logs of the step before have arrived by now, so tokens are complete.
        if state.global_step and state.global_step % self._every == 0:
            self._pause(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause(state.global_step)

    @property
    def _tokens(self) -> int:
        return self._rollout_tokens + self._pays_for_summaries * self._summary_tokens

    def _pause(self, step: int) -> None:
        self.trained_s += time.perf_counter() - self._started
        self._result.curve.append(self._point(step))
        self._started = time.perf_counter()

    def _point(self, step: int) -> Point:
        return self._look.point(
            step=step,
            tokens=self._tokens,
            summary_tokens=self._summary_tokens,
            seconds=round(self.trained_s - (not self._pays_for_summaries) * self._unread_s, 2),
        )


def _counter(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _settings(config: LanpoConfig) -> dict[str, Any]:
    """The settings that differ from the defaults, as plain data and without local paths."""
    # A second config object would reset the distributed state that the first one set up.
    defaults = {f.name: f.default for f in fields(LanpoConfig)}
    hidden = {"output_dir", "logging_dir", "pool", "run_name", "hub_token", "accelerator_config"}
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in hidden
        and name in defaults
        and value != defaults[name]
        and value not in (None, [])
    }


def _stages(result: ArmResult, trained_s: float) -> dict[str, float]:
    """Seconds per stage; what is left of the training time is the update."""
    stages = {
        stage: sum(row.get(f"lanpo/{stage}_ms", 0.0) for row in result.log) / 1000
        for stage in _STAGES
    }
    stages["update"] = trained_s - sum(stages.values())
    return {stage: round(seconds, 2) for stage, seconds in stages.items()}
