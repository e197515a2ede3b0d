"""What litellm brought back: the text, what it cost, and the first token's alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.models.litellm_api import Fault
from lanpo_memory.texts import storable
from lanpo_memory.types import Failure

__all__ = ["choice_keys", "choice_row", "read_text", "token_counts"]

_ROUNDING = 1e-3  # log-probabilities that servers send may lie this much above 0
_LEAST_MASS = 1e-6  # of a choice that is not listed: rounding may leave nothing, or less


def read_text(response: Any, *, stop: Sequence[str] = ()) -> tuple[str, bool] | Failure | Fault:
    """Return the text and whether it was cut at the token limit.

    A refusal, a filtered or an empty answer is a `Failure` that was `answered`: asking again would
    cost as much and bring the same. No choices at all is a broken body, and so a `Fault` that may
    go away.
    """
    if unusable := _unusable(response):
        return unusable
    choice = response.choices[0]
    text, truncated = _text(choice), choice.finish_reason == "length"
    for mark in stop:  # for providers that know no stop
        text = text.partition(mark)[0]
    if not text.strip():
        hint = "; all tokens went elsewhere, raise max_tokens" if truncated else ""
        return Failure(reason=f"the answer is empty{hint}", text=text, answered=True)
    return text, truncated


def _unusable(response: Any) -> Failure | Fault | None:
    if not response.choices:
        return Fault("no readable answer: it holds no choices", transient=True)
    choice = response.choices[0]
    if refusal := _refusal(choice.message):
        return Failure(reason="the model refused to answer", text=storable(refusal), answered=True)
    if choice.finish_reason == "content_filter":
        return Failure(
            reason="the provider's content filter stopped the answer",
            text=_text(choice),
            answered=True,
        )
    return None


def _text(choice: Any) -> str:
    return storable(str(choice.message.content or ""))


def _refusal(message: Any) -> str:
    extra = getattr(message, "provider_specific_fields", None) or {}
    return str(getattr(message, "refusal", None) or extra.get("refusal") or "")


def token_counts(response: Any, *, prompt: int, completion: int) -> tuple[int, int, bool]:
    """Return prompt tokens, completion tokens, and whether the provider told both.

    What it did not tell is taken to be the bound given, so that a budget holds all the same.
    """
    usage = getattr(response, "usage", None)
    told = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return told[0] or prompt, told[1] or completion, all(told)


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return max(0, value) if isinstance(value, int) else 0


def choice_keys(choices: Sequence[str]) -> list[str]:
    """Return the choices as they are compared with tokens: without white space, in lower case.

    Raises:
        InvalidInputError: there are none, one is empty, or two are the same.
    """
    keys = [choice.strip().lower() for choice in choices]
    if isinstance(choices, str) or not keys or not all(keys) or len(set(keys)) < len(keys):
        raise InvalidInputError(f"choices must be different words, got {choices!r}")
    return keys


def choice_row(response: Any, keys: Sequence[str]) -> NDArray[np.float64] | Failure | Fault:
    """Return the log-probability of each choice as the answer's first token.

    Raises:
        ConfigError: the answer holds no log-probabilities.
    """
    if unusable := _unusable(response):
        return unusable
    choice = response.choices[0]
    tokens = getattr(getattr(choice, "logprobs", None), "content", None)
    if not tokens and not _text(choice).strip():
        return Failure(reason="the answer is empty", answered=True)
    if not tokens:
        raise ConfigError(
            "the provider sent no log-probabilities, so choices cannot be scored: use "
            "TransformersModel, or a provider that supports logprobs"
        )
    listed = _alternatives(next((each for each in tokens if each.token.strip()), tokens[0]))
    if wrong := [logprob for logprob in listed.values() if not logprob <= _ROUNDING]:
        return Fault(f"no readable answer: {wrong[0]:g} is no log-probability", transient=True)
    return _row(listed, keys)


def _alternatives(token: Any) -> dict[str, float]:
    listed = {each.token: float(each.logprob) for each in token.top_logprobs or ()}
    return {token.token: float(token.logprob), **listed}


def _row(listed: dict[str, float], keys: Sequence[str]) -> NDArray[np.float64]:
    matches: dict[str, list[float]] = {key: [] for key in keys}
    for token, logprob in listed.items():
        key = _choice_of(token, keys)
        if key is not None:
            matches[key].append(logprob)
    rest = _rest(list(listed.values()))
    return np.array([_logsumexp(found) if found else rest for found in matches.values()])


def _choice_of(token: str, keys: Sequence[str]) -> str | None:
    """The choice a token stands for: the whole of it, or a beginning that only one of them has."""
    word = token.strip().lower()
    if word in keys:
        return word
    begun = [key for key in keys if word and key.startswith(word)]
    return begun[0] if len(begun) == 1 else None


def _rest(listed: Sequence[float]) -> float:
    """The most that what is not listed can have: the mass left over, and less than the least."""
    left = 1.0 - sum(math.exp(logprob) for logprob in listed)
    return min(math.log(max(left, _LEAST_MASS)), *listed)


def _logsumexp(values: Sequence[float]) -> float:
    return min(0.0, float(np.logaddexp.reduce(values)))
