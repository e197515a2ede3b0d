"""Arguments of `LiteLLMModel` and of its calls: checked, and put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.models.scrubbing import secrets_in
from lanpo_memory.types import fingerprint

__all__ = [
    "check_conversation",
    "check_settings",
    "checked_options",
    "host_of",
    "merged",
    "name_of_options",
    "secrets_of",
]

# Settings of the model itself, and what would send more requests than are counted.
_NOT_OPTIONS = {
    *("api_base", "api_key", "base_url", "messages", "model", "model_list", "n", "stream"),
    *("context_window_fallback_dict", "fallbacks", "max_retries", "num_retries", "retry_policy"),
    *("timeout",),
}
_LIMITS = ("max_tokens", "max_completion_tokens")


def check_settings(
    model: str, price: Sequence[float] | None, timeout_s: float, **numbers: float
) -> None:
    """Raise `ConfigError` for an empty name, a time-out of 0, and numbers that are too small."""
    if not model.strip():
        raise ConfigError("the model has no name: give one, such as openai/gpt-4o-mini")
    if not 0 < timeout_s < math.inf:
        raise ConfigError(f"timeout_s must be above 0, got {timeout_s}")
    for name, value in numbers.items():
        least = int(name == "concurrency")
        if not least <= value < math.inf:
            raise ConfigError(f"{name} must be at least {least}, got {value}")
    if price is not None and not (len(price) == 2 and all(0 <= each < math.inf for each in price)):
        raise ConfigError(
            f"price must be US dollars per prompt token and per completion token, got {price}"
        )


def merged(settings: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the parameters of a request, and the most tokens of its answer."""
    own = dict(settings)
    if "max_completion_tokens" in options:
        del own["max_tokens"]  # a provider takes one of the two
    own.update(options)
    return own, max(own[name] for name in _LIMITS if name in own)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of parameters that may be sent.

    Raises:
        ConfigError: one that has an argument of its own, or that would send uncounted requests.
    """
    if refused := sorted(_NOT_OPTIONS & options.keys()):
        raise ConfigError(
            f"options may not hold {', '.join(refused)}: there are arguments for the model, its "
            "server, time-out and retries, and an answer is one whole text"
        )
    for name in _LIMITS:
        limit = options.get(name, 1)
        if not isinstance(limit, int) or limit < 1:
            raise ConfigError(f"options[{name!r}] must be a number of at least 1, got {limit!r}")
    return dict(options)


def check_conversation(messages: Any) -> None:
    """Raise `InvalidInputError` for what is no list of messages, before anything is sent."""
    filled = isinstance(messages, list | tuple) and len(messages) > 0
    if not (filled and all(isinstance(each, Mapping) and "role" in each for each in messages)):
        raise InvalidInputError(
            "a conversation is a list of messages such as {'role': 'user', 'content': '2 + 3?'}, "
            f"got {str(messages)[:80]!r}"
        )


def host_of(api_base: str | None) -> str:
    """Return host and port of a server's address, without any name and password in it.

    Raises:
        ConfigError: it is no http address.
    """
    if api_base is None:
        return ""
    try:
        parts = urlsplit(api_base)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("api_base must be an address such as http://localhost:8000/v1")
    return parts.netloc.rpartition("@")[2]


def name_of_options(options: Mapping[str, Any]) -> str:
    """Return what options add to a fingerprint: a hash of them, headers and keys left out."""
    secrets = set(secrets_in(options))
    known = [
        f"{name}={value!r}"
        for name, value in sorted(options.items())
        if "header" not in name and str(value) not in secrets
    ]
    return f":options={fingerprint(*known)}" if known else ""


def secrets_of(
    api_key: str | None, api_base: str | None, options: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what must never be shown."""
    yield from secrets_in(options)
    yield from filter(None, (api_key, urlsplit(api_base or "").password))
