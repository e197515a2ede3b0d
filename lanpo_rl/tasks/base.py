"""What a task is: problems with answers kept beside them, in splits that share none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lanpo_memory.errors import ConfigError
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.types import Problem
from lanpo_rl.tiny.alphabet import boxed_answer
from lanpo_rl.tiny.prompts import TinyPrompts

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LEVELS", "SPLITS", "Example", "Level", "Split", "Task", "boxed_reward", "check_level"]

Split = Literal["train", "held_out", "shifted"]
Level = Literal["easy", "normal", "hard"]
SPLITS: tuple[Split, ...] = ("train", "held_out", "shifted")
LEVELS: tuple[Level, ...] = ("easy", "normal", "hard")


@dataclass(frozen=True)
class Example:
    """A problem and its reference answer. Only reward functions may see the answer."""

    problem: Problem
    answer: str


def boxed_reward(completion: str, answer: str) -> float:
    r"""Return 1.0 if the last boxed answer equals the reference to the letter, else 0.0.

    >>> boxed_reward(r"C09+14=\boxed{23}", "23")
    1.0
    """
    return float(boxed_answer(completion) == answer)


def check_level(level: Level) -> None:
    """Refuse a level of difficulty that there is not.

    Raises:
        ConfigError: it is none of `LEVELS`.
    """
    if level not in LEVELS:
        raise ConfigError(f"no level {level!r}; there are {', '.join(LEVELS)}")


@dataclass(frozen=True)
class Task:
    """A family of problems made from a seed: what to train on, and what to measure on.

    Attributes:
        name: of the task.
        train: what is trained on.
        held_out: other problems of the same kind.
        shifted: problems further away: of families never met, or longer ones.
        prompts: how a problem is put, and how an answer is read.
    """

    name: str
    train: Sequence[Example]
    held_out: Sequence[Example]
    shifted: Sequence[Example] = ()
    prompts: SolvePrompts = field(default_factory=TinyPrompts, compare=False, repr=False)

    def reward(self, completion: str, answer: str) -> float:
        """Return the task reward, 0.0 or 1.0."""
        return boxed_reward(completion, answer)

    def examples(self, split: Split) -> Sequence[Example]:
        """Return the examples of a split.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        found: Sequence[Example] = getattr(self, split)
        return found

    def dataset(self, split: Split) -> Dataset:
        """Return a split as a dataset for a trainer.

        Columns: prompt (messages), problem (text), problem_id, family, answer.
        """
        from datasets import Dataset

        rows = [
            {
                "prompt": self.prompts.solve(example.problem),
                "problem": example.problem.text,
                "problem_id": example.problem.id,
                "family": example.problem.family,
                "answer": example.answer,
            }
            for example in self.examples(split)
        ]
        return Dataset.from_list(rows)
