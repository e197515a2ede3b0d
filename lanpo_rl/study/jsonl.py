"""A task from your own problems, for a model of your own: JSON Lines files, answers in English."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.types import normalise
from lanpo_rl.evaluation.making import language_of, read_examples
from lanpo_rl.evaluation.outcomes import distinct
from lanpo_rl.rewards import math_accuracy
from lanpo_rl.tasks.base import Example, Task

__all__ = ["JsonlTask", "jsonl_task"]


@dataclass(frozen=True)
class JsonlTask(Task):
    """A task whose final answers are compared as mathematics or, if they are words, as text."""

    def reward(self, completion: str, answer: str) -> float:
        """Return 1.0 if the final answer equals the reference, else 0.0."""
        return math_accuracy([completion], [answer])[0]


def jsonl_task(
    path: Path,
    seed: int = 0,
    *,
    held_out: int | Path,
    shifted: Path | None = None,
    problem_column: str = "problem",
    answer_column: str = "answer",
    answer_marker: str | None = None,
    limit: int | None = None,
    measured: int | None = None,
) -> JsonlTask:
    """Make a task of files as `lanpo train` and `lanpo eval` read them.

    The seed decides the order, and with it what is held out of one file and what a limit leaves.
    A problem that is repeated counts once, whatever its white space. One that stands in several
    files stays where it is measured: in `held_out`, else in `shifted`.

    Args:
        path: the problems to train on.
        seed: of the splits.
        held_out: how many of them are measured on instead, or a file of others.
        shifted: a file of problems further away.
        problem_column: where a problem's text is, in all files.
        answer_column: where the reference answer is; only the reward sees it.
        answer_marker: take what follows this mark as the answer (``####`` for GSM8K).
        limit: train on so many at most.
        measured: measure on so many at most of a split.

    Raises:
        ConfigError: too few problems, or a number below 1.
        InvalidInputError: a file cannot be used, or one problem has two answers; see
            `lanpo_rl.data.load_problems`.
        MissingExtraError: datasets or math-verify is not installed.

    >>> import json, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sums.jsonl"
    ...     rows = [{"problem": f"{n} + 1?", "answer": str(n + 1)} for n in range(9)]
    ...     _ = path.write_text("".join(json.dumps(row) + chr(10) for row in rows))
    ...     task = jsonl_task(path, held_out=3)
    >>> len(task.train), len(task.held_out), task.reward("It is 4.0", "4")
    (6, 3, 1.0)
    """
    count = held_out if isinstance(held_out, int) else None
    for name, number in (("held_out", count), ("limit", limit), ("measured", measured)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be 1 or more, got {number}")
    prompts = language_of("english").prompts

    def read(file: Path) -> list[Example]:
        if not file.expanduser().exists():
            raise InvalidInputError(f"there is no file or folder {file}; check the path")
        return read_examples(
            str(file),
            prompts,
            problem_column=problem_column,
            answer_column=answer_column,
            answer_marker=answer_marker,
            split="train",
            config=None,
            limit=None,
        )

    kept = [] if isinstance(held_out, int) else read(held_out)
    strange = [] if shifted is None else read(shifted)
    own = read(path)
    distinct([*kept, *strange, *own])  # a problem has one answer throughout, an id one problem
    strange = _without(strange, kept)
    own = _without(own, [*kept, *strange])
    random.Random(f"jsonl {seed}").shuffle(own)
    if count is not None:
        kept, own = own[:count], own[count:]
    if not own or not kept:
        raise ConfigError(f"{path} leaves no problem to train on; hold fewer out or add some")
    return JsonlTask(
        path.stem,
        train=tuple(own[:limit]),
        held_out=_some(kept, measured, seed),
        shifted=_some(strange, measured, seed),
        prompts=prompts,
    )


def _without(examples: Iterable[Example], others: Iterable[Example]) -> list[Example]:
    """Return those whose problem is none of the others'."""
    texts = {normalise(other.problem.text) for other in others}
    return [example for example in examples if normalise(example.problem.text) not in texts]


def _some(examples: Sequence[Example], count: int | None, seed: int) -> tuple[Example, ...]:
    shuffled = list(examples)
    random.Random(f"jsonl {seed} measured").shuffle(shuffled)
    return tuple(shuffled[:count])
