"""A trainer that keeps what passes through its hooks, and what reads it."""

from __future__ import annotations

from typing import Any

import torch

from lanpo_memory import ExperiencePool
from lanpo_rl.tasks import Task
from lanpo_rl.trainer import LanpoTrainer


class Spy(LanpoTrainer):
    """Keeps what passes through the hooks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plans: list[Any] = []
        self.batches: list[dict[str, Any]] = []
        self.losses: list[dict[str, Any]] = []
        self.rollouts: list[list[Any]] = []

    def _lanpo_guide(self, inputs: Any) -> Any:
        plan = super()._lanpo_guide(inputs)
        self.plans.append(plan)
        return plan

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        self.batches.append(batch)
        return batch

    def _lanpo_rollouts(self, *args: Any) -> Any:
        self.rollouts.append(super()._lanpo_rollouts(*args))
        return self.rollouts[-1]

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        self.losses.append(inputs)
        return super()._compute_loss(model, inputs)

    def texts(self, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
        rows = zip(ids, mask, strict=True)
        return [self.processing_class.decode(i[m.bool()].tolist()) for i, m in rows]

    def logged(self, name: str) -> list[float]:
        return [row[name] for row in self.state.log_history if name in row]


def shared(plan: Any) -> list[Any]:
    """The guidance of each group, which its last rollout always carries."""
    return [group[-1] for group in plan.guidance_PG]


def shown(trainer: Spy) -> list[list[list[str]]]:
    """Guidance of every step and row: texts are what a policy reads."""
    return [[[g.text for g in group] for group in plan.guidance_PG] for plan in trainer.plans]


def pool_of(trainer: LanpoTrainer) -> ExperiencePool:
    return trainer.memory.pool


def last_log(trainer: LanpoTrainer, name: str) -> float:
    return next(row[name] for row in reversed(trainer.state.log_history) if name in row)


def few(task: Task, n: int) -> Task:
    """So few problems that every one is visited again and again."""
    return Task(task.name, task.train[:n], task.held_out)
