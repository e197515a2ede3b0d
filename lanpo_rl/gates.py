"""Gates that look at outcomes: guidance only where it is needed. Not reward-agnostic.

The outcome decides *whether* a group gets guidance. What the guidance says never depends on it: a
reflection is handed an attempt without its reward.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lanpo_memory.guide import uniform
from lanpo_memory.types import Attempt, Problem

__all__ = ["failing", "fresh_attempts", "reflects_anyway"]


def failing(task_PS: Tensor, *, correct_above: float) -> list[bool | None]:
    """Tell for each problem whether none of its scratch rollouts is right.

    `None` where no rollout could be scored: nothing is known.

    >>> import torch
    >>> failing(torch.tensor([[0.0, 0.0], [0.0, 1.0], [torch.nan, torch.nan]]), correct_above=0.5)
    [True, False, None]
    """
    known = ~task_PS.isnan()
    right = (task_PS > correct_above) & known
    return [
        not any_right if any_known else None
        for any_right, any_known in zip(right.any(1).tolist(), known.any(1).tolist(), strict=True)
    ]


def reflects_anyway(problem: Problem, *, step: int, seed: int, share: float) -> bool:
    """Tell whether a group that has a right rollout reflects all the same, by a coin."""
    return uniform(seed, step, problem.id, "reflect_on_right") < share


def fresh_attempts(
    problem: Problem, texts_S: Sequence[str], *, count: int, step: int
) -> list[tuple[Attempt, int] | None]:
    """Return `count` attempts to reflect on, each with its place among the scratch rollouts.

    They are taken in order, again from the start if there are fewer; empty completions are left
    out. `None` if there is none at all.
    """
    filled = [s for s, text in enumerate(texts_S) if text.strip()]
    if not filled:
        return [None] * count
    chosen = [filled[i % len(filled)] for i in range(count)]
    return [(Attempt(problem=problem, text=texts_S[s], step=step), s) for s in chosen]
