"""What is logged about a batch, as plain numbers. The trainer adds the prefix ``lanpo/``."""

from __future__ import annotations

from torch import Tensor

from lanpo_memory.types import Observation
from lanpo_rl.objectives import zero_variance

__all__ = ["memory_metrics", "reward_metrics"]

_STATUSES = ("added", "duplicate", "evicted", "rejected", "failed")


def reward_metrics(task_PG: Tensor, total_PG: Tensor, guided_PG: Tensor) -> dict[str, float]:
    """How guided and scratch rollouts did.

    `feedback_ratio` is the realised share of groups with guidance, `guided_rows` that of rollouts.
    Rewards are task rewards; `zero_variance_guided` is the share of guided groups whose guided
    rollouts all have the same total reward, and so no in-context gradient.
    """
    groups = guided_PG.any(1)
    metrics = {
        "feedback_ratio": float(groups.float().mean()),
        "guided_rows": float(guided_PG.float().mean()),
    }
    if guided_PG.any():
        metrics["reward_guided"] = float(task_PG[guided_PG].nanmean())
        same = zero_variance(total_PG, guided_PG)
        metrics["zero_variance_guided"] = float(same[groups].float().mean())
    if (~guided_PG).any():
        metrics["reward_scratch"] = float(task_PG[~guided_PG].nanmean())
    return metrics


def memory_metrics(seen: Observation) -> dict[str, float]:
    """What the memory found, wrote and refused."""
    figures = seen.retrieval
    metrics = {f"receipts_{s}": float(seen.counts.get(s, 0)) for s in _STATUSES}
    metrics |= {
        "dropped_for_budget": float(figures.dropped),
        "pool_size": float(seen.pool_size),
        "persist_ms": 1000 * seen.seconds.get("persist", 0.0),
    }
    if figures.searched:
        metrics["hit_rate"] = figures.hits / figures.searched
    if figures.similarities:
        metrics["templates"] = figures.templates / len(figures.similarities)
        metrics["similarity"] = sum(figures.similarities) / len(figures.similarities)
        metrics["age_steps"] = sum(figures.ages) / len(figures.ages)
    return metrics
