"""Any model that litellm reaches, over HTTP."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.ledger import Ledger, token_bound
from lanpo_memory.models.calling import Backoff, in_threads
from lanpo_memory.models.litellm_answers import choice_keys, choice_row, read_text
from lanpo_memory.models.litellm_api import Fault, Prices, load_litellm, no_retries, provider_of
from lanpo_memory.models.litellm_batch import Answered, Calls, Line
from lanpo_memory.models.litellm_settings import (
    check_conversation,
    check_settings,
    checked_options,
    host_of,
    merged,
    name_of_options,
    secrets_of,
)
from lanpo_memory.models.scrubbing import Scrubber, Secret
from lanpo_memory.types import Completion, Failure, Messages

__all__ = ["LiteLLMModel"]

Value = TypeVar("Value")

_NO_KEY = "none"  # the OpenAI client insists on a key, servers of one's own seldom have one


class LiteLLMModel:
    """A `ChatModel` and `ChoiceScorer` that asks any provider litellm knows.

    A try that failed is repeated where that may help: after status 408, 409, 425, 429 or 5xx, a
    time-out, a lost connection, a body that cannot be read or holds no choices. A used-up quota,
    any other status, a refusal, a filtered and an empty answer are a `Failure` at once. One
    conversation costs ``1 + retries`` requests at most; litellm's own retries are off.

    The ledger counts every try. Tokens and dollars are those the provider tells; an answer without
    token counts is booked at the most it can have used, and its `Completion` says 0. Reserved is
    the byte length of the prompts and the most that may be answered. A try that is repeated is
    booked with the tokens told: none where the server sent an error or a body that litellm cannot
    read.

    `timeout_s` bounds the connection and each pause between two pieces of the answer, not the call
    as a whole: a server that sends a little now and then can hold a call for longer.

    A parameter the model does not take is left out, such as the temperature of a reasoning model;
    stop sequences are applied here as well. No key is ever part of a message, and importing
    litellm fetches nothing.

    Args:
        model: litellm's name for it, such as ``"openai/gpt-4o-mini"``.
        ledger: counts the calls and holds a budget; one of its own by default.
        api_base: address of another server, such as ``"http://localhost:8000/v1"``.
        api_key: by default the environment's; a server under `api_base` gets by without one.
        timeout_s: longest wait for the connection, and for each next piece of the answer.
        retries: tries after the first one.
        backoff_s: the first pause, doubled for each further one, shortened by chance by up to half.
        max_backoff_s: longest pause, also where the server asks for a longer one.
        concurrency: most requests in flight, over all threads that use this object.
        seed: of the chance in the pauses.
        sleep: called with the seconds of a pause; by default a wait that an interrupt ends.
        clock: seconds, for measuring how long a request takes.
        price: US dollars per prompt token and per completion token, in place of litellm's list.
        options: further parameters of each request; they override what this class sets.

    Raises:
        MissingExtraError: litellm is not installed.
        ConfigError: a setting that makes no sense, or a provider that litellm does not know.

    >>> model = LiteLLMModel("openai/my-model", api_base="http://localhost:8000/v1", retries=2)
    >>> model.fingerprint
    'litellm:openai/my-model@localhost:8000'
    >>> model.generate([], max_tokens=100)
    []
    """

    def __init__(
        self,
        model: str,
        *,
        ledger: Ledger | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        backoff_s: float = 1.0,
        max_backoff_s: float = 60.0,
        concurrency: int = 8,
        seed: int = 0,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        price: tuple[float, float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_settings(
            model,
            price,
            timeout_s,
            retries=retries,
            backoff_s=backoff_s,
            max_backoff_s=max_backoff_s,
            concurrency=concurrency,
        )
        self.model, self.ledger = model, Ledger() if ledger is None else ledger
        self._options, self._host = checked_options(options or {}), host_of(api_base)
        self._concurrency = concurrency
        self._litellm = load_litellm()
        self._name, self._provider = provider_of(self._litellm, model, api_base)
        self._prices = Prices(self._litellm, model, self._name, self._provider, price)
        self._line = Line(
            litellm=self._litellm,
            request={
                "model": model,
                "api_base": api_base,
                "api_key": self._key(api_key, api_base),
                "timeout": timeout_s,
                "drop_params": True,
                **no_retries(),
            },
            timeout_s=timeout_s,
            retries=retries,
            backoff=Backoff(first_s=backoff_s, most_s=max_backoff_s, seed=seed),
            slots=threading.BoundedSemaphore(concurrency),
            sleep=sleep,
            clock=clock,
            prices=self._prices,
            scrub=Scrubber(secrets_of(api_key, api_base, self._options)),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fingerprint.removeprefix('litellm:')!r})"

    @property
    def fingerprint(self) -> str:
        """The model, the server's host if one was named, and a hash of the options if there are."""
        at = f"@{self._host}" if self._host else ""
        return f"litellm:{self.model}{at}{name_of_options(self._options)}"

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        """Answer each conversation, `concurrency` at once; the answers keep their order.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made. Where a further
                try would cross `max_calls`, its conversation becomes a `Failure` instead.
            InvalidInputError: a conversation without messages, or a number out of range.
        """
        marks = [stop] if isinstance(stop, str) else list(stop)
        if max_tokens < 1 or not 0 <= temperature < math.inf or not all(marks):
            raise InvalidInputError(
                "max_tokens must be at least 1, temperature at least 0, and no stop sequence empty,"
                f" got {max_tokens}, {temperature} and {marks}"
            )
        settings = {"max_tokens": max_tokens, "temperature": temperature, "stop": marks or None}

        def read(response: Any) -> tuple[str, bool] | Failure | Fault:
            return read_text(response, stop=marks)

        answers = self._ask(conversations, settings, role, read)
        return [each if isinstance(each, Failure) else _completion(each) for each in answers]

    def choice_logprobs(
        self, conversations: Sequence[Messages], choices: Sequence[str], *, role: str = "judge"
    ) -> NDArray[np.float32]:
        """Score choices by the alternatives of the answer's first token, shape (n, choices).

        Upper and lower case, and white space around a token, make no difference; a token that only
        one choice begins with counts for it. A choice that none of the (20) alternatives stands for
        gets the probability mass they leave over, at least 1e-6 and at most that of the least
        likely of them: an upper bound. A provider that lists fewer, or wants more than one token,
        is told so by `options`: ``{"top_logprobs": 5, "max_tokens": 16}``.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made.
            ConfigError: the model does not tell log-probabilities.
            InvalidInputError: no choices, or two that are the same.
        """
        keys = choice_keys(choices)
        self._check_logprobs()
        settings = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
        answers = self._ask(conversations, settings, role, lambda got: choice_row(got, keys))
        failed = np.full(len(keys), np.nan)
        rows = [failed if isinstance(each, Failure) else each.value for each in answers]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(keys))

    def _key(self, api_key: str | None, api_base: str | None) -> Secret | None:
        if api_key is None and api_base is not None:
            missing = self._litellm.validate_environment(self.model)["missing_keys"]
            return Secret(_NO_KEY) if missing and not self._litellm.api_key else None
        return None if api_key is None else Secret(api_key)

    def _check_logprobs(self) -> None:
        known = self._litellm.get_supported_openai_params(
            self._name, custom_llm_provider=self._provider
        )
        if known is not None and "logprobs" not in known:
            raise ConfigError(
                f"litellm gets no log-probabilities from {self.model!r}, so choices cannot be "
                "scored: use TransformersModel, or a provider that supports logprobs"
            )

    def _ask(
        self,
        conversations: Sequence[Messages],
        settings: Mapping[str, Any],
        role: str,
        read: Callable[[Any], Value | Failure | Fault],
    ) -> list[Answered[Value] | Failure]:
        for messages in conversations:
            check_conversation(messages)
        if not conversations:
            return []
        parameters, limit = merged(settings, self._options)
        n, stop = len(conversations), threading.Event()
        prompt = sum(map(token_bound, conversations))
        cost = self._prices.of_tokens(prompt, n * limit)
        with self.ledger.reserve(role, calls=n, tokens=prompt + n * limit, cost=cost) as held:
            calls = Calls(
                self._line,
                parameters=parameters,
                limit=limit,
                read=read,
                ledger=self.ledger,
                held=held,
                stop=stop,
            )
            found = in_threads(calls.answer, conversations, threads=self._concurrency, stop=stop)
        for each in found:
            if isinstance(each, Failure):
                self.ledger.note(role, each.reason)
        return found


def _completion(answered: Answered[tuple[str, bool]]) -> Completion:
    (text, truncated), usage = answered
    return Completion(
        text=text,
        truncated=truncated,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=usage.seconds,
        cost=usage.cost,
    )
