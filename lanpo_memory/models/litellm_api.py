"""The package litellm: loaded without a network, its errors and prices as plain values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lanpo_memory.errors import ConfigError, MissingExtraError
from lanpo_memory.models.calling import retry_after_s
from lanpo_memory.texts import storable

__all__ = ["Fault", "Prices", "fault_of", "load_litellm", "no_retries", "provider_of"]

# Conflict (409) and too early (425) go away by themselves; the OpenAI client agrees on the first.
_TRANSIENT = frozenset({408, 409, 425, 429})
# Prefixes such as "litellm.RateLimitError: RateLimitError: OpenAIException - ".
_PREFIX = re.compile(
    r"^(?:(?:litellm\.)?(?:LiteLLM|\w*(?:Error|Exception|Timeout))(?: \w*Error)?(?:: | - ))+"
)
_MAX_MESSAGE_CHARS = 300  # leaves room for the status, and for why there was no further try


def load_litellm() -> Any:
    """Return the package, told to fetch nothing: no price list, no headers, no tokenizer.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # else it reads any `.env` above its folder
    try:
        import litellm
    except ModuleNotFoundError as error:
        if error.name != "litellm":
            raise
        raise MissingExtraError("litellm", "llm") from None
    litellm.telemetry = False  # gone in newer releases
    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    return litellm


def no_retries() -> dict[str, Any]:
    """Arguments that turn off every retry of litellm's, and of the client it uses.

    An empty policy, because a `litellm.num_retries` set elsewhere would replace a plain 0.
    """
    from litellm.types.router import RetryPolicy

    return {"num_retries": 0, "max_retries": 0, "retry_policy": RetryPolicy()}


def provider_of(litellm: Any, model: str, api_base: str | None) -> tuple[str, str]:
    """Return the model's name at its provider, and the provider.

    Raises:
        ConfigError: litellm does not know the provider.
    """
    from openai import OpenAIError

    try:
        name, provider, *_ = litellm.get_llm_provider(model, api_base=api_base)
    except OpenAIError:
        raise ConfigError(
            f"litellm does not know the provider of {model!r}: write provider/model, such as "
            "openai/gpt-4o-mini, or openai/NAME with api_base for a server of your own"
        ) from None
    return name, provider


_LOST = "the server cannot be reached, or the connection broke"


@dataclass(frozen=True)
class Fault:
    """Why a call came to nothing, whether another try may help, and how long to wait for it."""

    reason: str
    transient: bool = False
    wait_s: float = 0.0


def fault_of(error: Any, *, timeout_s: float, scrub: Callable[[str], str]) -> Fault:
    """Read an error of litellm's, which has a status even where no server sent one.

    Transient are rate limits, time-outs, lost connections, broken bodies, and the statuses 408,
    409, 425 and 5xx. A used-up quota and missing credentials come under such a status, too, but
    no further try will help.
    """
    headers = _headers(error)
    status = int(getattr(error, "status_code", None) or 0)
    message = _message(error, scrub)
    said, lasting = f"status {status}", _code(error) == "insufficient_quota"
    if not headers and status == 408:  # litellm's own status, as is the next
        said = f"no answer within {timeout_s:g} s"
    elif not headers and status >= 500:
        lasting = "credentials" in message or "api_key" in message
        lost = message.startswith("Connection error")
        said = "not sent" if lasting else _LOST if lost else "no readable answer"
    transient = (status in _TRANSIENT or status >= 500) and not lasting
    return Fault(f"{said}: {message}", transient, retry_after_s(headers))


def _headers(error: Any) -> dict[str, str]:
    """The headers of the server's answer, in lower case; empty where there was none."""
    found = getattr(error, "litellm_response_headers", None)
    found = found or getattr(getattr(error, "response", None), "headers", None) or {}
    return {str(name).lower(): str(value) for name, value in dict(found).items()}


def _message(error: Any, scrub: Callable[[str], str]) -> str:
    # Scrubbed before it is cut: half a key would not be recognised.
    text = scrub(storable(str(getattr(error, "message", None) or error)))
    text = " ".join(_PREFIX.sub("", text).partition("Traceback (most recent")[0].split())
    if len(text) > _MAX_MESSAGE_CHARS:
        text = text[: _MAX_MESSAGE_CHARS - 1] + "…"
    return text or type(error).__name__


def _code(error: Any) -> object:
    body = getattr(error, "body", None)
    return body.get("code") if isinstance(body, Mapping) else None


class Prices:
    """What a model's tokens cost, in US dollars: as told, else as litellm's list says."""

    def __init__(
        self, litellm: Any, model: str, name: str, provider: str, told: tuple[float, float] | None
    ) -> None:
        self._told = told
        self._rates = told or _listed(litellm.model_cost, model, name, provider)

    def of_tokens(self, prompt: int, completion: int) -> float | None:
        """The most so many tokens can cost, `None` where no price is known."""
        if self._rates is None:
            return None
        return prompt * self._rates[0] + completion * self._rates[1]

    def of_answer(self, response: Any, prompt: int, completion: int) -> float | None:
        """What an answer did cost: litellm's own figure knows discounts for cached tokens."""
        if self._told is None:
            cost = getattr(response, "_hidden_params", {}).get("response_cost")
            if cost is not None:
                return float(cost)
        return self.of_tokens(prompt, completion)


def _listed(
    prices: Mapping[str, Any], model: str, name: str, provider: str
) -> tuple[float, float] | None:
    for key in (model, f"{provider}/{name}", name):
        entry = prices.get(key, {})
        if entry.get("litellm_provider") == provider:
            rates = _dearest(entry, "input"), _dearest(entry, "output")
            return None if rates[0] is None or rates[1] is None else (rates[0], rates[1])
    return None


def _dearest(entry: Mapping[str, Any], side: str) -> float | None:
    """The highest price of a token: long prompts may have one of their own."""
    pattern = re.compile(rf"{side}_cost_per_(?:reasoning_)?token(?:_above_\d+k_tokens)?")
    found = [float(value or 0) for name, value in entry.items() if pattern.fullmatch(name)]
    return max(found, default=None)
