"""The control that asks whether a longer prompt is all it takes: guidance of the wrong problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.guide import uniform
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.types import Attempt, Guidance, Problem
from lanpo_rl.study.controls.base import Control, Surroundings, WrappedMemory

__all__ = ["PlaceboControl", "is_mismatched"]

_TRIES = 16  # problems looked at for guidance that is as long


@dataclass(frozen=True)
class PlaceboControl(Control):
    """Who draws guidance gets that of another problem, as long as their own would have been.

    Experiences come from another family, attempts from another problem; in a task without families
    experiences, too, come from any other problem. Where there are none, the problem goes without:
    what it would have been shown it never gets.
    """

    def wrap(self, memory: PoolAdapter, around: Surroundings) -> ExperienceAdapter:
        """Return a memory that swaps what it would have shown."""
        return _PlaceboMemory(memory, around)


def is_mismatched(problem: Problem, other: Problem) -> bool:
    """Whether the experience of a problem is of no use to another, by what the task says.

    A task without families has one problem each.

    >>> is_mismatched(Problem(text="a", family="x"), Problem(text="b", family="x"))
    False
    """
    if problem.family is None or other.family is None:
        return problem.id != other.id
    return problem.family != other.family


class _PlaceboMemory(WrappedMemory):
    def __init__(self, inner: PoolAdapter, around: Surroundings) -> None:
        super().__init__(inner)
        self._seed = around.seed
        self._problems = [example.problem for example in around.task.train]

    def prepare(
        self,
        problems: Sequence[Problem],
        *,
        step: int,
        wanted: Sequence[bool | None] | None = None,
        attempts: Sequence[Attempt | None] | None = None,
    ) -> list[Guidance]:
        own = self.inner.prepare(problems, step=step, wanted=wanted, attempts=attempts)
        fresh = [attempt for attempt in attempts or () if attempt is not None]
        keys = [f"{step}|{i}" for i in range(len(problems))]
        inter = [i for i, guidance in enumerate(own) if guidance.kind == "inter"]
        shown = [*own]
        for i, found in zip(
            inter, self._experiences([(problems[i], keys[i]) for i in inter]), strict=True
        ):
            shown[i] = self._as_long(found, own[i])
        for i, guidance in enumerate(own):
            if guidance.kind == "intra":
                shown[i] = self._as_long(self._attempts(problems[i], keys[i], fresh), guidance)
        return shown

    def _as_long(self, found: Sequence[Guidance], own: Guidance) -> Guidance:
        count = self.inner.guide.count_tokens
        length = count(own.text)
        others = [g for g in found if not {*g.lesson_ids} & {*own.lesson_ids}]
        return min(others, key=lambda g: abs(count(g.text) - length), default=Guidance())

    def _experiences(self, asked: Sequence[tuple[Problem, str]]) -> list[list[Guidance]]:
        """For each problem, what the guide would show to problems of other families."""
        drawn = [
            self._drawn([p for p in self._problems if is_mismatched(problem, p)], key)
            for problem, key in asked
        ]
        others = [other for each in drawn for other in each]
        seeds = [
            f"{self._seed}|{key}|{other.id}"
            for each, (_, key) in zip(drawn, asked, strict=True)
            for other in each
        ]
        # All at once: most of what a search costs, it costs once.
        found = iter(self.inner.guide.inter(others, seeds=seeds) if others else [])
        return [
            [
                inter.guidance
                for inter in islice(found, len(each))
                if inter.used
                and all(
                    is_mismatched(problem, used.retrieved.experience.problem) for used in inter.used
                )
            ]
            for each, (problem, _) in zip(drawn, asked, strict=True)
        ]

    def _attempts(self, problem: Problem, key: str, fresh: Sequence[Attempt]) -> list[Guidance]:
        """Attempts at other problems: fresh ones of this step, else stored ones."""
        others = [attempt for attempt in fresh if attempt.problem.id != problem.id]
        if not others:
            drawn = self._drawn([p for p in self._problems if p.id != problem.id], key)
            stored = self.pool.attempts_of(drawn)
            others = [attempts[0] for attempts in stored if attempts]
        others.sort(key=lambda a: uniform(self._seed, key, problem.id, a.problem.id, a.text))
        return self.inner.guide.intra(others[:_TRIES])

    def _drawn(self, problems: Sequence[Problem], key: str) -> list[Problem]:
        return nsmallest(_TRIES, problems, key=lambda p: uniform(self._seed, key, p.id))
