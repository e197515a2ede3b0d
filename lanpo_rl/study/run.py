"""How one arm is run: train, evaluate now and then, keep what was measured."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from lanpo_memory.errors import HitRateWarning
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_rl.config import LanpoConfig
from lanpo_rl.evaluation import evaluate
from lanpo_rl.memory import build_memory
from lanpo_rl.rewards import as_reward
from lanpo_rl.study.arms import Arm, toy_config
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.tasks import Task
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer

__all__ = ["OnStep", "run_arm"]

_STAGES = ("retrieve", "judge", "generate", "reward", "summarise", "persist")
OnStep = Callable[[int, int, str], None]
"""Told after each step: step, steps in all, what is going on."""


def run_arm(
    arm: Arm,
    task: Task,
    *,
    seed: int,
    steps: int,
    folder: Path,
    evaluate_every: int = 25,
    on_step: OnStep = lambda step, steps, what: None,
) -> ArmResult:
    """Train the seeded policy under an arm; its pool stays as `folder/pool.db`.

    What an earlier run left in the folder is removed first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = toy_config(arm, seed=seed, steps=steps, folder=folder)
    prompts, tokenizer = TinyPrompts(), load_tokenizer()
    memory = build_memory(config, prompts=prompts, count_tokens=_counter(tokenizer))
    trainer = LanpoTrainer(
        load_policy(),
        as_reward(task.reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=tokenizer,
        memory=memory,
        prompts=prompts,
    )
    trainer.remove_callback(PrinterCallback)
    result = ArmResult(arm.name, arm.label, seed, _settings(config))
    watcher = _Watcher(trainer, task, memory.pool, result, evaluate_every, on_step)
    trainer.add_callback(watcher)
    with warnings.catch_warnings():
        # Here every family has lessons: each problem finding one is what gamma was set for.
        warnings.simplefilter("ignore", HitRateWarning)
        trainer.train()
    result.stage_seconds = _stages(result, watcher.trained_s)
    result.pool, result.pool_digest = memory.pool.stats(), memory.pool.digest()
    memory.pool.close()
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    return result


class _Watcher(TrainerCallback):
    """Evaluates every so often, with the clock stopped."""

    def __init__(
        self,
        trainer: LanpoTrainer,
        task: Task,
        pool: ExperiencePool,
        result: ArmResult,
        every: int,
        on_step: OnStep,
    ) -> None:
        self._trainer, self._task, self._result = trainer, task, result
        self._guide = Guide(
            pool,
            prompts=TinyPrompts(),
            gamma=trainer.args.gamma,
            # Evaluation sorts like training: utility where the arm learned it, else relevance.
            weight=trainer.args.retrieval_weight,  # type: ignore[arg-type]
        )
        self._every, self._on_step = every, on_step
        self._started = time.perf_counter()
        self.trained_s = 0.0
        self._tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_step(0, state.max_steps, "starts")
        self._evaluate(0)
        self._started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        numbers = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if "lanpo/completion_tokens" in numbers:
            self._result.log.append({"step": state.global_step, **numbers})
            self._tokens += int(numbers["lanpo/completion_tokens"])
            self._tokens += int(numbers["lanpo/summary_tokens"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_step(state.global_step, state.max_steps, "trains")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Logs of the step before have arrived by now, so tokens are complete.
        if state.global_step and state.global_step % self._every == 0:
            self._pause(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause(state.global_step)

    def _pause(self, step: int) -> None:
        self.trained_s += time.perf_counter() - self._started
        self._evaluate(step)
        self._started = time.perf_counter()

    def _evaluate(self, step: int) -> None:
        trainer, task = self._trainer, self._task
        model = trainer.accelerator.unwrap_model(trainer.model)
        measure = partial(
            evaluate,
            model,
            trainer.processing_class,
            task.held_out,
            prompts=TinyPrompts(),
            score=task.reward,
        )
        bare, helped = measure(), measure(guide=self._guide)
        point = Point(
            step=step,
            tokens=self._tokens,
            seconds=round(self.trained_s, 2),
            zero_shot=bare.accuracy,
            with_memory=helped.accuracy,
            guided=helped.guided,
            right_family=helped.right_family,
        )
        self._result.curve.append(point)


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
