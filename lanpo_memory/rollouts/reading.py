"""What trainers hand over and get back: prompts, problems, completions; checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Messages, Problem, Prompt

__all__ = ["Sampled", "problem_of", "problems_of", "prompts_of", "sampled_of"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a rollout function may return where a list of completions is not enough.

    Attributes:
        completions: one text for each prompt, in the same order.
        rewards: of the task, without any bonus for format; `None` or NaN where there is none.
        correct: whether each one is right, where somebody knows.
        extra: whatever the trainer needs (token ids, log-probabilities); handed on untouched.
    """

    completions: Sequence[str]
    rewards: Sequence[float | None] | None = None
    correct: Sequence[bool | None] | None = None
    extra: Any = None


def problem_of(prompt: Prompt) -> Problem:
    """Return what a prompt asks: the string, or the text of the last user message.

    Instructions in that message become part of the problem and blur retrieval: where a data set
    has the bare problem, use that.

    Raises:
        InvalidInputError: no user message, or one without text.

    >>> problem_of([{"role": "system", "content": "Be brief."},
    ...             {"role": "user", "content": "2 + 3?"}]).text
    '2 + 3?'
    """
    if isinstance(prompt, str):
        return Problem(text=prompt)
    contents = [message["content"] for message in prompt if message.get("role") == "user"]
    if not contents:
        raise InvalidInputError("the prompt has no user message, so what it asks is not known")
    content = contents[-1]
    if not isinstance(content, str):
        content = "\n".join(part["text"] for part in content if part.get("type") == "text")
    return Problem(text=content)


def prompts_of(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return a batch of prompts as lists and strings; refuse a single prompt."""
    batch = [prompts] if isinstance(prompts, str | Mapping) else list(prompts)
    if isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in batch):
        raise InvalidInputError("give a list of prompts, also for one: rollout([prompt])")
    return [prompt if isinstance(prompt, str) else _messages(prompt) for prompt in batch]


def _messages(prompt: Any) -> Messages:
    try:
        return [dict(message) for message in prompt]
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"a prompt is a string or a list of messages, got a {type(prompt).__name__}; "
            "token ids have to be decoded"
        ) from None


def problems_of(
    prompts: Sequence[Prompt], problems: Sequence[Problem | str] | None
) -> list[Problem]:
    """Return one problem for each prompt; refuse two different ones under one id."""
    if problems is None:
        return [problem_of(prompt) for prompt in prompts]
    if isinstance(problems, str) or len(problems) != len(prompts):
        raise InvalidInputError(
            f"problems needs one item for each of {len(prompts)} prompts, "
            f"got {'a string' if isinstance(problems, str) else len(problems)}"
        )
    made = [Problem(text=each) if isinstance(each, str) else each for each in problems]
    first: dict[str, Problem] = {}
    for problem in made:
        if first.setdefault(problem.id, problem).text != problem.text:
            raise InvalidInputError(
                f"two problems of the batch have the id {problem.id!r}: {problem.text[:60]!r} and "
                f"{first[problem.id].text[:60]!r}; give each its own"
            )
    return made


def sampled_of(returned: Any, size: int) -> Sampled:
    """Return what a rollout function returned, in whatever shape, as one with texts only."""
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # it will never run: no warning about it
        raise InvalidInputError(
            "the rollout function is async: wrap `lambda prompts: asyncio.run(fn(prompts))`, and "
            "await the wrapped one with asyncio.to_thread"
        )
    if isinstance(returned, tuple) and len(returned) == 2 and not isinstance(returned[0], str):
        returned = Sampled(*returned)
    sampled = returned if isinstance(returned, Sampled) else Sampled(returned)
    completions = sampled.completions
    if isinstance(completions, str) or not isinstance(completions, Sequence):
        raise InvalidInputError(
            "the rollout function has to return a list of completions, (completions, rewards) or "
            f"Sampled(...); it returned a {type(completions).__name__}"
        )
    if len(completions) != size:
        raise InvalidInputError(
            f"the rollout function returned {len(completions)} completions for {size} prompts"
        )
    for i, text in enumerate(completions):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"completion {i} is a {type(text).__name__}, not a text; decode it, and hand token "
                "ids to the trainer as Sampled(completions, extra=...)"
            )
    return sampled
