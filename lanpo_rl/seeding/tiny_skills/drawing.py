"""Supervised examples drawn at random: the language in which a task states its skills."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lanpo_memory.types import Messages
from lanpo_rl.tiny.prompts import as_user

__all__ = ["Draw", "Lesson", "Mixture", "Skill", "draw_from"]

Skill = Literal["solve", "inter", "summarise", "intra"]


@dataclass(frozen=True)
class Lesson:
    """One supervised example: what is asked, and the completion to learn."""

    skill: Skill
    prompt: str
    completion: str

    @property
    def messages(self) -> Messages:
        """The prompt as a conversation."""
        return as_user(self.prompt)


Draw = Callable[[random.Random], Lesson]
Mixture = tuple[tuple[Draw, float], ...]
"""What is taught, each with its weight."""


def draw_from(mixture: Mixture, count: int, rng: random.Random) -> list[Lesson]:
    """Draw examples of a mixture's skills.

    >>> one = lambda rng: Lesson("solve", "bako bako bako 8_6", "C09+14=")
    >>> [lesson.skill for lesson in draw_from(((one, 1.0),), 2, random.Random(0))]
    ['solve', 'solve']
    """
    kinds, weights = zip(*mixture, strict=True)
    return [draw(rng) for draw in rng.choices(kinds, weights, k=count)]
