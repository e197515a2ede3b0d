"""What is logged about a batch, as plain numbers. The trainer adds the prefix ``lanpo/``.

A figure that does not exist in a step (the reward of guided rollouts where none was guided) is left
out of it: the log averages over the steps that have it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from torch import Tensor

from lanpo_memory.protocols import Prompts
from lanpo_memory.types import Guidance, Observation
from lanpo_rl.objectives import zero_variance

__all__ = [
    "entropy_metrics",
    "flip_metrics",
    "memory_metrics",
    "reward_metrics",
    "text_metrics",
]

_STATUSES = ("added", "duplicate", "evicted", "rejected", "failed")
_QUANTILES = (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))


def reward_metrics(task_PG: Tensor, total_PG: Tensor, guided_PG: Tensor) -> dict[str, float]:
    """How guided and scratch rollouts did.

    `feedback_ratio` is the realised share of groups with guidance, `guided_rows` that of rollouts.
    Rewards are task rewards; `reward_uplift` is guided minus scratch, within the groups that have
    both. `zero_variance_*` is the share of groups whose rollouts of that kind all have the same
    total reward, and so no in-context gradient.
    """
    groups = guided_PG.any(1)
    metrics = {
        "feedback_ratio": float(groups.float().mean()),
        "guided_rows": float(guided_PG.float().mean()),
    }
    for name, mask_PG in (("guided", guided_PG), ("scratch", ~guided_PG)):
        if mask_PG.any():
            metrics[f"reward_{name}"] = float(task_PG[mask_PG].nanmean())
            same = zero_variance(total_PG, mask_PG)
            metrics[f"zero_variance_{name}"] = float(same[mask_PG.any(1)].float().mean())
    both = groups & (~guided_PG).any(1)
    if both.any():
        guided = task_PG.masked_fill(~guided_PG, float("nan"))[both].nanmean(1)
        scratch = task_PG.masked_fill(guided_PG, float("nan"))[both].nanmean(1)
        metrics["reward_uplift"] = float((guided - scratch).nanmean())
    return {name: value for name, value in metrics.items() if value == value}


def text_metrics(
    texts_N: Sequence[str],
    lengths_N: Sequence[int],
    cut_N: Sequence[bool],
    guidance_N: Sequence[Guidance],
    *,
    prompts: Prompts,
) -> dict[str, float]:
    """Length in tokens, share cut at the limit, and share of distinct texts, of either kind.

    `headers_present` is the share of guided completions with every section header of their kind.
    """
    metrics: dict[str, float] = {}
    for name, wanted in (("guided", True), ("scratch", False)):
        rows = [i for i, g in enumerate(guidance_N) if bool(g) is wanted]
        if rows:
            metrics[f"length_{name}"] = _mean([lengths_N[i] for i in rows])
            metrics[f"truncated_{name}"] = _mean([cut_N[i] for i in rows])
            metrics[f"distinct_{name}"] = len({texts_N[i] for i in rows}) / len(rows)
    complete = [
        all(any(header in text for header in either) for either in sections)
        for text, guidance in zip(texts_N, guidance_N, strict=True)
        if guidance and (sections := prompts.sections(guidance.kind))
    ]
    if complete:
        metrics["headers_present"] = _mean(complete)
    return metrics


def entropy_metrics(sums: Sequence[float]) -> dict[str, float]:
    """Mean entropy of the tokens of either kind, in nats.

    Args:
        sums: entropy and number of tokens, guided; the same of scratch rollouts.
    """
    pairs = {"entropy_guided": sums[:2], "entropy_scratch": sums[2:]}
    return {name: total / count for name, (total, count) in pairs.items() if count}


def flip_metrics(task_N: Tensor, looked_at: dict[int, int], above: float) -> dict[str, float]:
    """What became of fresh attempts that were reflected on: shares of those right, and wrong."""
    scores = [(float(task_N[a]), float(task_N[b])) for b, a in looked_at.items()]
    pairs = [(a > above, b > above) for a, b in scores if a == a and b == b]  # scored ones
    metrics: dict[str, float] = {}
    if wrong := [now for before, now in pairs if not before]:
        metrics["flips_to_right"] = _mean(wrong)
    if right := [not now for before, now in pairs if before]:
        metrics["flips_to_wrong"] = _mean(right)
    return metrics


def memory_metrics(seen: Observation) -> dict[str, float]:
    """What the memory found, wrote and refused."""
    figures = seen.retrieval
    metrics = {f"receipts_{s}": float(seen.counts.get(s, 0)) for s in _STATUSES}
    metrics |= {
        "dropped_for_budget": float(figures.dropped),
        "truncated_prompts": float(figures.shortened),
        "pool_size": float(seen.pool_size),
    }
    if figures.searched:
        metrics["hit_rate"] = figures.hits / figures.searched
    if figures.similarities:
        metrics["templates"] = figures.templates / len(figures.similarities)
        metrics["similarity"] = _mean(figures.similarities)
        ordered = sorted(figures.similarities)
        for name, share in _QUANTILES:
            metrics[f"similarity_{name}"] = ordered[round(share * (len(ordered) - 1))]
        metrics["age_steps"] = _mean(figures.ages)
    return metrics


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)
