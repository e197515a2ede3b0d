"""Answers to experiences: what every part that asks a model for one does with what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.summarizers.copy_check import CopyCheck, SummaryCheck
from lanpo_memory.types import Completion, Experience, ExperienceMetadata, Failure, Problem

__all__ = ["Check", "check_for", "checked", "matched", "read_answer"]

Check = SummaryCheck | Literal["default"] | None
"""A check of one's own, `None` for no check, or what goes with the prompts."""


class _Reads(Protocol):
    def parse(self, problem: Problem, answer: str) -> Experience | Failure: ...


def check_for(prompts: object, check: Check) -> SummaryCheck | None:
    """Return the check to use: by default, only English summaries are checked.

    Raises:
        ConfigError: something else than a check.
    """
    if check == "default":
        return CopyCheck() if isinstance(prompts, EnglishPrompts) else None
    if check is None or callable(check):
        return check
    raise ConfigError(f"check must be a function, None or 'default', got {check!r}")


def matched(answers: Sequence[Completion | Failure], asked: int) -> None:
    """Refuse answers that are not one for each request.

    Raises:
        InvalidInputError: they are more or fewer.
    """
    if len(answers) != asked:
        raise InvalidInputError(
            f"{len(answers)} answers for {asked} requests; give one for each, in order"
        )


def read_answer(
    prompts: _Reads,
    problem: Problem,
    answer: Completion | Failure,
    metadata: ExperienceMetadata,
    *,
    rollouts: tuple[int, ...] = (),
) -> Experience | Failure:
    """Return the experience that a model wrote, with its metadata, or why there is none."""
    if isinstance(answer, Failure):
        return answer.model_copy(update={"rollouts": rollouts})
    read = prompts.parse(problem, answer.text)
    if isinstance(read, Experience):
        return read.model_copy(update={"metadata": metadata})
    cut = " (the answer was cut at its token limit)" if answer.truncated else ""
    return read.model_copy(update={"reason": read.reason + cut, "rollouts": rollouts})


def checked(
    read: Experience | Failure,
    answer: Completion | Failure,
    completions: Sequence[str],
    check: SummaryCheck | None,
    *,
    rollouts: tuple[int, ...],
) -> Experience | Failure:
    """Return what was read, or a rejection, with the answer, if the check refuses it."""
    if check is None or isinstance(read, Failure):
        return read
    reason = check(read.problem, completions, read)
    if reason is None:
        return read
    text = answer.text
    return Failure(status="rejected", reason=reason, text=text, rollouts=rollouts)
