"""What studies there are: which arms on which subjects, for how many steps and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from lanpo_rl.study.arms import Arm
from lanpo_rl.study.subjects import Subject

__all__ = ["Part", "Study"]


@dataclass(frozen=True)
class Part:
    """Arms that are compared on one subject, each with every seed."""

    subject: Subject
    arms: tuple[Arm, ...]
    steps: int = 200
    evaluate_every: int = 25


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: for the command line.
        question: in one line.
        parts: arms by subject.
        seeds: how many, by default.
        minutes: what it took with that many seeds on two cores.
    """

    name: str
    question: str
    parts: tuple[Part, ...]
    seeds: int
    minutes: float
