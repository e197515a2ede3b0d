"""One batch of rollouts: which of them carry what guidance, and in which order they are sampled.

Suffixes: _P problems, _G rollouts of a group, _N = P·G rows of the world, _n rows of this rank.
Within a group scratch rollouts stand first, guided ones last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from lanpo_memory.types import Guidance, GuidanceKind, Problem

__all__ = ["Outcome", "Plan"]

T = TypeVar("T")


@dataclass
class Plan:
    """A batch on its way. Lists of P are the world's; rows are this rank's."""

    step: int
    rows: list[dict[str, Any]]  # prompts as they are sampled from
    bare: list[Any]  # prompts without guidance
    problems_P: list[Problem]
    group: int  # G
    scratch: int  # how many rollouts of a guided group have no guidance
    first: int  # number of this rank's first row in the world
    in_turns: bool = False  # scratch parts are sampled before it is known who is guided
    guidance_PG: list[list[Guidance]] = field(init=False)
    guided_PG: Tensor = field(init=False)  # which rollouts have guidance
    looked_at: dict[int, int] = field(default_factory=dict)  # guided row -> scratch row, of N
    scores: Tensor | None = None  # of the scratch parts, once they are known

    def __post_init__(self) -> None:
        self.guidance_PG = [[Guidance()] * self.group for _ in self.problems_P]
        self.guided_PG = torch.zeros(len(self.problems_P), self.group, dtype=torch.bool)

    @property
    def own(self) -> slice:
        """This rank's rows among the world's N."""
        return slice(self.first, self.first + len(self.rows))

    @property
    def guidance_N(self) -> list[Guidance]:  # noqa: N802 - the axes are part of the name
        """The guidance of every row of the world; the empty one for scratch rollouts."""
        return [guidance for group in self.guidance_PG for guidance in group]

    @property
    def kinds_n(self) -> list[GuidanceKind]:
        """Kind of guidance of this rank's rows."""
        return [guidance.kind for guidance in self.guidance_N[self.own]]

    def guide(self, guidance_P: Sequence[Guidance | Sequence[Guidance]]) -> None:
        """Give each group its guidance: one for its guided part, or one for each rollout of it."""
        for p, given in enumerate(guidance_P):
            count = self.group - self.scratch
            each = [given] * count if isinstance(given, Guidance) else list(given)
            self.guidance_PG[p] = [Guidance()] * self.scratch + each
            self.guided_PG[p] = torch.tensor([bool(g) for g in self.guidance_PG[p]])
        for i, (row, guidance) in enumerate(zip(self.rows, self.guidance_N[self.own], strict=True)):
            row["prompt"] = guidance.apply(self.bare[i]) if guidance else self.bare[i]
            if "lanpo_guidance" in row:
                row["lanpo_guidance"] = guidance.kind

    # ------------------------------------------------------------------ in turns

    def turns(self) -> tuple[list[int], list[int]]:
        """This rank's rows that are sampled first (scratch), and those sampled then."""
        place = [(self.first + i) % self.group for i in range(len(self.rows))]
        early = [i for i, g in enumerate(place) if g < self.scratch]
        return early, [i for i, g in enumerate(place) if g >= self.scratch]

    def world(self, early: Tensor, late: Tensor) -> Tensor:
        """Put what was gathered in two turns (ranks after each other) into the order of N."""
        first, then = self.turns()
        n = len(self.rows)
        whole = early.new_empty(early.shape[0] + late.shape[0], *early.shape[1:])
        for rank in range(whole.shape[0] // n):
            at = torch.tensor(first) + rank * n
            whole[at] = early[rank * len(first) : (rank + 1) * len(first)]
            at = torch.tensor(then) + rank * n
            whole[at] = late[rank * len(then) : (rank + 1) * len(then)]
        return whole

    def in_order(self, early: Sequence[T], late: Sequence[T]) -> list[T]:
        """Put what was made of this rank's rows in two turns into the order of the rows."""
        first, then = self.turns()
        found = dict(zip([*first, *then], [*early, *late], strict=True))
        return [found[i] for i in range(len(self.rows))]


@dataclass
class Outcome:
    """What TRL's scoring said: rewards of the world, completions of this rank."""

    total_N: Tensor
    task_N: Tensor
    texts_n: list[str]
