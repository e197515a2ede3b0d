"""The wrapper around a rollout function."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import uniform
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.rollouts.batch import Answer, GuidedBatch
from lanpo_memory.rollouts.reading import problems_of, prompts_of, sampled_of
from lanpo_memory.types import Guidance, Problem, Prompt

__all__ = ["WrappedRollout", "wrap_rollout"]


class WrappedRollout:
    """A rollout function with memory; `wrap_rollout` makes it.

    Attributes:
        step: the step of the next call that names none. Set it when a run is resumed.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        memory: ExperienceAdapter,
        *,
        guided_fraction: float,
        seed: int,
        step: int,
        policy: str,
        correct_above: float | None,
        answer: Answer | None,
    ) -> None:
        self.step = step
        self._fn, self._memory = fn, memory
        self._fraction, self._seed = guided_fraction, seed
        self._policy, self._correct_above, self._answer = policy, correct_above, answer
        self._calls: tuple[int, int] = (step, 0)  # how often a step was seen, for the last one
        self._lock = threading.Lock()

    def __call__(
        self,
        prompts: Sequence[Prompt],
        *,
        problems: Sequence[Problem | str] | None = None,
        step: int | None = None,
        **kwargs: Any,
    ) -> GuidedBatch:
        """Ask the memory, call the rollout function, and report the rewards it returns, if any.

        When the function raises, nothing is stored, the step is not used up, and the exception
        travels on.

        Args:
            prompts: a batch; the prompts of a group one by one, as often as they are sampled.
            problems: what each prompt asks, where that is not the text of its last user message.
            step: the trainer's step. By default calls are counted.
            kwargs: handed on to the rollout function.

        Raises:
            InvalidInputError: one prompt in place of a batch, lengths that differ, two problems
                with one id, or a rollout function that does not return texts.
        """
        bare = prompts_of(prompts)
        asked = problems_of(bare, problems)
        with self._lock:
            step = self.step if step is None else step
            call = self._calls[1] if self._calls[0] == step else 0
        batch = GuidedBatch(
            self._memory,
            step=step,
            problems=asked,
            bare_prompts=bare,
            guidance=self._guidance(asked, step),
            groups=[f"{step}:{call}:{problem.id}" for problem in asked],
            policy=self._policy,
            correct_above=self._correct_above,
            answer=self._answer,
        )
        sampled = sampled_of(self._fn(list(batch.prompts), **kwargs), len(batch))
        batch.completions, batch.extra = list(sampled.completions), sampled.extra
        with self._lock:
            self.step, self._calls = step + 1, (step, call + 1)
        if sampled.rewards is not None or sampled.correct is not None:
            batch.outcome(sampled.rewards, correct=sampled.correct)
        return batch

    def _guidance(self, problems: Sequence[Problem], step: int) -> list[Guidance]:
        """One guidance a group, for the last so many of its members."""
        sizes = Counter(problem.id for problem in problems)
        bare_left = {each: size - self._guided(each, size, step) for each, size in sizes.items()}
        wanting = {p.id: p for p in problems if bare_left[p.id] < sizes[p.id]}
        found = self._memory.prepare(list(wanting.values()), step=step) if wanting else []
        by_id = dict(zip(wanting, found, strict=True))
        guidance = []
        for problem in problems:
            bare = bare_left[problem.id] > 0
            bare_left[problem.id] -= 1
            guidance.append(Guidance() if bare else by_id[problem.id])
        return guidance

    def _guided(self, problem_id: str, size: int, step: int) -> int:
        """How many of a group: its share, and a coin for what is left over."""
        return int(size * self._fraction + uniform(self._seed, step, problem_id, "guided"))


def wrap_rollout(
    fn: Callable[..., Any],
    memory: ExperienceAdapter,
    *,
    guided_fraction: float = 1.0,
    seed: int = 0,
    first_step: int = 0,
    policy: str = "",
    correct_above: float | None = None,
    answer: Answer | None = None,
) -> WrappedRollout:
    """Give a trainer's rollout function memory: guidance before it, what it taught after it.

    `fn` gets a list of prompts, strings or conversations, and returns as many completions: a list
    of texts, a pair ``(completions, rewards)``, or a `Sampled`. Rewards that come later are
    reported with `GuidedBatch.outcome`. The same problem several times in a batch is a group and
    draws one guidance. Whether it draws any is up to the memory (its `feedback_ratio`).

    Synchronous. An ``async def`` is wrapped as ``lambda prompts: asyncio.run(fn(prompts))`` and
    awaited with ``await asyncio.to_thread(rollout, prompts)``.

    Args:
        fn: the rollout function.
        memory: what is asked and told.
        guided_fraction: share of a guided group that carries the guidance, the last ones of it;
            the rest is sampled from the bare prompt (a mixed group). Where the share of a group is
            no whole number, a coin made from seed, step and problem decides about the odd one.
        seed: of that coin.
        first_step: step of the first call.
        policy: name of the model, kept with every attempt and experience.
        correct_above: a rollout without a verdict is right if its reward is above this; by default
            above 0.
        answer: answers the summarizer's requests, one for each in order: so the policy itself can
            summarise. By default the memory asks its own model.

    Raises:
        ConfigError: `guided_fraction` is no share.

    >>> from lanpo_memory import ExperiencePool, PoolAdapter
    >>> from lanpo_memory.summarizers import ExtractiveSummarizer
    >>> memory = PoolAdapter(ExperiencePool(), summarizer=ExtractiveSummarizer())
    >>> def sample(prompts: Sequence[Prompt]) -> list[str]:
    ...     return ["I paired the first with the last." for _ in prompts]
    >>> rollout = wrap_rollout(sample, memory)
    >>> batch = rollout(["Sum the odd numbers below 20."] * 4)
    >>> dict(batch.outcome([1.0, 0.0, 1.0, 1.0]).counts), rollout.step
    ({'added': 1}, 1)
    """
    if not 0.0 < guided_fraction <= 1.0:
        raise ConfigError(
            f"guided_fraction must be above 0 and at most 1, got {guided_fraction}; for no "
            "guidance at all use a memory with feedback_ratio=0"
        )
    return WrappedRollout(
        fn,
        memory,
        guided_fraction=guided_fraction,
        seed=seed,
        step=first_step,
        policy=policy,
        correct_above=correct_above,
        answer=answer,
    )
