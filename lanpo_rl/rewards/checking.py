"""A wrapper that names what is wrong with a reward function."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Sequence, Sized
from numbers import Real
from typing import Any, TypeVar

from lanpo_rl.rewards.errors import RewardError, said
from lanpo_rl.rewards.functions import is_async, name_of
from lanpo_rl.rewards.sections import SectionReward

__all__ = ["RewardError", "checked"]

FunctionT = TypeVar("FunctionT")

_LARGEST = 3.4e38  # of the 32 bits that TRL keeps a reward in


def checked(function: FunctionT) -> FunctionT:
    """Wrap a reward function so that its failures name it.

    The wrapped function has the same name and is asynchronous if `function` is. It returns a list
    of floats, NaN where `function` gave `None` or NaN: not scored. Reward models, their names and
    `SectionReward` are returned as they are; so is what is wrapped already.

    Raises:
        RewardError: on a call, if `function` raises, returns a wrong number of rewards, an
            infinite one, or something that is no number.

    >>> def first(completions, **columns):
    ...     return [None, True]
    >>> checked(first)(completions=["a", "b"])
    [nan, 1.0]
    >>> checked(first)(completions=["a"])
    Traceback (most recent call last):
    ...
    lanpo_rl.rewards.errors.RewardError: the reward function 'first' returned 2 rewards for 1
    completions; return one for each, None where there is none
    """
    if not callable(function) or _is_whole(function):
        return function
    wrapper: Any = _awaited(function) if is_async(function) else _called(function)
    wrapper.__name__ = name_of(function)
    wrapper.lanpo_checked = True
    return wrapper  # type: ignore[no-any-return]


def _called(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> list[float]:
        name = name_of(function)
        try:
            returned = function(*args, **kwargs)
        except RewardError:
            raise
        except Exception as error:
            raise _raised(name, error, _count(args, kwargs)) from error
        return _rewards(name, returned, _count(args, kwargs))

    return wrapper


def _awaited(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> list[float]:
        name = name_of(function)
        try:
            returned = await function(*args, **kwargs)
        except RewardError:
            raise
        except Exception as error:
            raise _raised(name, error, _count(args, kwargs)) from error
        return _rewards(name, returned, _count(args, kwargs))

    return wrapper


def _is_whole(function: Any) -> bool:
    """Whether it is a reward model, our own, or wrapped already."""
    torch = sys.modules.get("torch")  # without it there is no model
    if torch is not None and isinstance(function, torch.nn.Module):
        return True
    return isinstance(function, SectionReward) or getattr(function, "lanpo_checked", False)


def _count(args: Sequence[Any], kwargs: dict[str, Any]) -> int | None:
    """How many completions there are: TRL hands them over by name."""
    completions = kwargs.get("completions", args[0] if args else None)
    return len(completions) if isinstance(completions, Sized) else None


def _raised(name: str, error: Exception, count: int | None) -> RewardError:
    rows = "" if count is None else f" on a batch of {count} rows"
    return RewardError(f"the reward function {name!r} {said(error)}{rows}")


def _rewards(name: str, returned: Any, count: int | None) -> list[float]:
    if inspect.iscoroutine(returned):
        returned.close()
        raise RewardError(
            f"the reward function {name!r} returned a coroutine; define it with `async def`"
        )
    values = returned.tolist() if hasattr(returned, "tolist") else returned
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        kind = type(returned).__name__
        raise RewardError(
            f"the reward function {name!r} returned {kind}; return a list, one reward a completion"
        )
    rewards = [_reward(name, row, value) for row, value in enumerate(values)]
    if count is not None and len(rewards) != count:
        raise RewardError(
            f"the reward function {name!r} returned {len(rewards)} rewards for {count} "
            "completions; return one for each, None where there is none"
        )
    return rewards


def _reward(name: str, row: int, value: Any) -> float:
    if value is None:
        return math.nan
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # of torch or numpy
        value = value.item()
    if not isinstance(value, Real):
        raise RewardError(
            f"the reward function {name!r} returned {type(value).__name__} in row {row}; "
            "a reward is a number, or None"
        )
    number = _float(value)
    if abs(number) > _LARGEST:
        raise RewardError(
            f"the reward function {name!r} returned {number} in row {row}; a reward must be "
            "finite, or None where there is none"
        )
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf
