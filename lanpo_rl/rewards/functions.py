"""What reward functions are made of: a completion's text, and a function of one completion."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from lanpo_rl.rewards.errors import RewardError, said

__all__ = ["RewardFunction", "as_reward", "completion_text", "is_async", "name_of"]

RewardFunction = Callable[..., Any]
"""Takes ``completions`` and the dataset's columns by name; returns one reward for each completion,
or (``async def``) a promise of them."""


def completion_text(completion: Any) -> str:
    """Return a completion as text: a string, or the assistant messages joined.

    >>> completion_text([{"role": "assistant", "content": [{"type": "text", "text": "hi"}]}])
    'hi'
    """
    if isinstance(completion, str):
        return completion
    return "".join(
        _content(message.get("content"))
        for message in completion
        if message.get("role", "assistant") == "assistant"
    )


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part for part in content or () if isinstance(part, Mapping)]
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))


def name_of(function: Any) -> str:
    """The name TRL logs a reward function under: its own, or that of its class."""
    function = _unwrapped(function)
    return str(getattr(function, "__name__", type(function).__name__))


def is_async(function: Any) -> bool:
    """Whether calling it gives something to await: ``async def``, also as a ``__call__``."""
    function = _unwrapped(function)
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is asked for
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def as_reward(
    score: Callable[[str, str], float | Awaitable[float]],
    *,
    name: str = "reward",
    concurrency: int = 64,
) -> RewardFunction:
    """Turn a function of one completion and one answer into TRL's form.

    An ``async def`` gives an asynchronous reward: up to `concurrency` completions are scored at
    once, and the rewards come in the completions' order. `None` or NaN means not scored.

    Raises:
        RewardError: `score` raised; names the function and the row. Calls still under way are
            cancelled.

    >>> as_reward(lambda text, answer: float(text == answer))(["a", "b"], ["a", "c"])
    [1.0, 0.0]
    """
    reward = _awaiting(score, name, concurrency) if is_async(score) else _calling(score, name)
    reward.__name__ = reward.__qualname__ = name
    return reward


def _calling(score: Callable[..., Any], name: str) -> RewardFunction:
    def reward(completions: Sequence[Any], answer: Sequence[Any], **_: Any) -> list[Any]:
        rewards = []
        for row, (completion, gold) in enumerate(zip(completions, answer, strict=True)):
            text = completion_text(completion)
            try:
                rewards.append(score(text, str(gold)))
            except Exception as error:
                raise _at(row, text, name, error) from error
        return rewards

    return reward


def _awaiting(score: Callable[..., Any], name: str, concurrency: int) -> RewardFunction:
    async def reward(completions: Sequence[Any], answer: Sequence[Any], **_: Any) -> list[Any]:
        free = asyncio.Semaphore(concurrency)

        async def one(row: int, completion: Any, gold: Any) -> Any:
            text = completion_text(completion)
            async with free:
                try:
                    return await score(text, str(gold))
                except Exception as error:
                    raise _at(row, text, name, error) from error

        pairs = enumerate(zip(completions, answer, strict=True))
        calls = [asyncio.ensure_future(one(row, *pair)) for row, pair in pairs]
        try:
            return await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    return reward


def _at(row: int, text: str, name: str, error: Exception) -> RewardError:
    shown = repr(text if len(text) <= 80 else f"{text[:80]}...")
    return RewardError(f"the reward function {name!r} {said(error)} on row {row}, {shown}")
