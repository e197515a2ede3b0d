"""One batch of rollouts under guidance, from its prompts to its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.texts import storable
from lanpo_memory.turns import reward_of
from lanpo_memory.types import (
    Completion,
    Failure,
    Guidance,
    Observation,
    Problem,
    Prompt,
    Request,
    Rollout,
)

__all__ = ["Answer", "GuidedBatch"]

Answer = Callable[[Sequence[Request]], Sequence[Completion | Failure]]


class GuidedBatch:
    """What one call of a wrapped rollout did; all lists are in the order of the prompts.

    Attributes:
        step: the step it was made in.
        problems: what each prompt asks.
        prompts: the prompts with their guidance, exactly as the rollout function got them: the
            loss belongs under these.
        bare_prompts: the prompts as they came in: a distilling term belongs under these.
        guidance: what was put in front; a `Guidance` of kind ``none`` is false.
        groups: name of each one's group: the samples of one problem in one call.
        completions: what the rollout function returned.
        rewards: the rewards it returned, or those reported later; `None` until then.
        extra: what it returned beside completions and rewards.
        observation: the memory's receipts, once rewards were reported.
    """

    def __init__(
        self,
        memory: ExperienceAdapter,
        *,
        step: int,
        problems: list[Problem],
        bare_prompts: list[Prompt],
        guidance: list[Guidance],
        groups: list[str],
        policy: str = "",
        correct_above: float | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.step, self.problems, self.bare_prompts = step, problems, bare_prompts
        self.guidance, self.groups = guidance, groups
        self.prompts: list[Prompt] = [
            _applied(each, prompt) for each, prompt in zip(guidance, bare_prompts, strict=True)
        ]
        self.completions: list[str] = []
        self.rewards: list[float | None] | None = None
        self.extra: Any = None
        self.observation: Observation | None = None
        self._memory, self._answer = memory, answer
        self._policy, self._correct_above = policy, correct_above

    def __len__(self) -> int:
        return len(self.problems)

    def rollouts(
        self,
        rewards: Sequence[float | None] | None = None,
        *,
        correct: Sequence[bool | None] | None = None,
    ) -> list[Rollout]:
        """Return what `ExperienceAdapter.ask` and `ingest` take, and store nothing.

        Raises:
            InvalidInputError: there are not as many rewards or verdicts as completions.
        """
        size = len(self.completions)
        scores = _listed("rewards", rewards, size, _score)
        verdicts = _listed("correct", correct, size, lambda v: None if v is None else bool(v))
        return [
            Rollout(
                problem=self.problems[i],
                completion=storable(self.completions[i]),
                reward=reward_of(scores[i], verdicts[i]),
                correct=self._verdict(scores[i], verdicts[i]),
                step=self.step,
                policy=self._policy,
                group=self.groups[i],
                guidance=self.guidance[i],
            )
            for i in range(size)
        ]

    def _verdict(self, score: float | None, verdict: bool | None) -> bool | None:
        if verdict is not None or score is None or self._correct_above is None:
            return verdict
        return score > self._correct_above

    def outcome(
        self,
        rewards: Sequence[float | None] | None = None,
        *,
        correct: Sequence[bool | None] | None = None,
    ) -> Observation:
        """Report what came of the batch, once; the memory stores it in one transaction.

        When storing fails the batch is as it was, and `outcome` can be called again.

        Args:
            rewards: of the task; `None` or NaN for a rollout that could not be scored.
            correct: whether each one is right; with no rewards, right is worth 1 and wrong 0.

        Raises:
            InvalidInputError: it was reported before, or the lengths differ.
        """
        if self.observation is not None:
            raise InvalidInputError(
                f"the outcome of this batch (step {self.step}) was reported before; the rollout "
                "function returned rewards, or outcome was called"
            )
        rollouts = self.rollouts(rewards, correct=correct)
        self.observation = self._told(rollouts)
        self.rewards = [rollout.reward for rollout in rollouts]
        return self.observation

    def _told(self, rollouts: Sequence[Rollout]) -> Observation:
        if self._answer is None:
            return self._memory.observe(rollouts, step=self.step)
        requests = self._memory.ask(rollouts, step=self.step)
        answers = list(self._answer(requests)) if requests else []
        return self._memory.ingest(rollouts, answers, step=self.step)


def _applied(guidance: Guidance, prompt: Prompt) -> Prompt:
    if isinstance(prompt, str):  # a type checker takes one kind of prompt at a time
        return guidance.apply(prompt)
    return guidance.apply(prompt)


def _listed(
    name: str, values: Sequence[Any] | None, size: int, read: Callable[[Any], Any]
) -> list[Any]:
    if values is None:
        return [None] * size
    if len(values) != size:
        raise InvalidInputError(f"{name} has {len(values)} items for {size} completions")
    return [read(value) for value in values]


def _score(value: Any) -> float | None:
    score = math.nan if value is None else float(value)
    return None if math.isnan(score) else score
