"""Which rollouts of a group are summarised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lanpo_memory.types import Rollout

__all__ = ["Admission", "admit_contrast", "admit_correct"]

Admission = Callable[[Sequence[Rollout]], list[int]]
"""Which rollouts of one group are summarised, as indices into the group."""


def admit_correct(per_group: int = 1) -> Admission:
    """Admit the first `per_group` correct rollouts of a group.

    A rollout is correct if it says so, or, where nothing is said, if its reward is positive.

    >>> from lanpo_memory.types import Problem
    >>> problem = Problem(text="2 + 3?")
    >>> group = [Rollout(problem=problem, completion="4", reward=0.0),
    ...          Rollout(problem=problem, completion="5", reward=1.0)]
    >>> admit_correct()(group)
    [1]
    """

    def admit(group: Sequence[Rollout]) -> list[int]:
        return [i for i, rollout in enumerate(group) if rollout.succeeded][:per_group]

    return admit


def admit_contrast(right: int = 1, wrong: int = 1) -> Admission:
    """Admit the first right and the first wrong rollouts of a group that has both.

    For `ContrastiveSummarizer`. Rollouts that nobody judged are not admitted.

    >>> from lanpo_memory.types import Problem
    >>> problem = Problem(text="2 + 3?")
    >>> group = [Rollout(problem=problem, completion=text, correct=correct)
    ...          for text, correct in (("4", False), ("6", False), ("5", True))]
    >>> admit_contrast()(group), admit_contrast()(group[:2])
    ([0, 2], [])
    """

    def admit(group: Sequence[Rollout]) -> list[int]:
        by_outcome = {
            outcome: [i for i, rollout in enumerate(group) if rollout.succeeded is outcome]
            for outcome in (True, False)
        }
        if not all(by_outcome.values()):
            return []
        return sorted([*by_outcome[True][:right], *by_outcome[False][:wrong]])

    return admit
