"""The requests of one batch of conversations: sent, tried again, booked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from lanpo_memory.errors import BudgetExceeded
from lanpo_memory.ledger import Ledger, Reservation, token_bound
from lanpo_memory.models.calling import Backoff
from lanpo_memory.models.litellm_answers import token_counts
from lanpo_memory.models.litellm_api import Fault, Prices, fault_of
from lanpo_memory.types import Failure, Messages, Usage

__all__ = ["Answered", "Calls", "Line"]

Value = TypeVar("Value")


class Answered(NamedTuple, Generic[Value]):
    """What was read from an answer, and the usage the provider told."""

    value: Value
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Line:
    """How requests get to one model. `request` holds what is the same in all of them."""

    litellm: Any
    request: Mapping[str, Any]
    timeout_s: float
    retries: int
    backoff: Backoff
    slots: threading.Semaphore
    sleep: Callable[[float], object] | None
    clock: Callable[[], float]
    prices: Prices
    scrub: Callable[[str], str]


class Calls(Generic[Value]):
    """Answers conversations of one role with the same parameters, within one reservation.

    `limit` is the most tokens of an answer. `read` returns a value, a `Failure`, or a `Fault`
    for an answer that might be better next time; what it raises ends the batch.
    """

    def __init__(
        self,
        line: Line,
        *,
        parameters: Mapping[str, Any],
        limit: int,
        read: Callable[[Any], Value | Failure | Fault],
        ledger: Ledger,
        held: Reservation,
        stop: threading.Event,
    ) -> None:
        self._line, self._parameters, self._limit, self._read = line, parameters, limit, read
        self._ledger, self._held, self._stop = ledger, held, stop

    def answer(self, index: int, messages: Messages) -> Answered[Value] | Failure:
        """Send, and send again while that may help; `index` varies the pauses."""
        tries, got = 1, self._send(messages, None)
        while isinstance(got, Fault):
            if not got.transient or tries > self._line.retries:
                after = f" (after {tries} tries)" if tries > 1 else ""
                return Failure(reason=got.reason + after)
            pause_s = self._line.backoff.pause_s(item=index, tries=tries, at_least_s=got.wait_s)
            got = self._again(messages, got, pause_s)
            tries += 1
        return got

    def _again(
        self, messages: Messages, fault: Fault, pause_s: float
    ) -> Answered[Value] | Failure | Fault:
        try:
            extra = self._ledger.reserve(self._held.role, calls=1)
        except BudgetExceeded as error:
            return Failure(reason=f"{fault.reason}; not tried again: {error}")
        with extra:
            (self._line.sleep or self._stop.wait)(pause_s)
            return self._send(messages, extra)

    def _send(
        self, messages: Messages, extra: Reservation | None
    ) -> Answered[Value] | Failure | Fault:
        with self._line.slots:
            if self._stop.is_set():
                return Failure(reason="the batch was stopped")
            begun = self._line.clock()
            try:
                response = self._request(messages)
            except BaseException:  # booked whatever it is, because it may have been sent
                self._book(self._failed(begun), extra)
                raise
            seconds = self._line.clock() - begun
        if isinstance(response, Fault):
            self._book(Usage(calls=1, failures=1, seconds=seconds), extra)
            return response
        return self._received(response, messages, seconds, extra)

    def _failed(self, begun: float) -> Usage:
        return Usage(calls=1, failures=1, seconds=self._line.clock() - begun)

    def _request(self, messages: Messages) -> Any:
        from openai import OpenAIError

        copies = [dict(message) for message in messages]
        line = self._line
        try:
            return line.litellm.completion(messages=copies, **line.request, **self._parameters)
        except OpenAIError as error:
            return fault_of(error, timeout_s=line.timeout_s, scrub=line.scrub)

    def _received(
        self, response: Any, messages: Messages, seconds: float, extra: Reservation | None
    ) -> Answered[Value] | Failure | Fault:
        spent, told = self._spent(response, prompt=token_bound(messages), completion=self._limit)
        waited, failed = Usage(seconds=seconds), Usage(failures=1)
        try:
            got = self._read(response)
            if isinstance(got, Fault):
                self._book_beside(response)
                spent = Usage()
            elif not isinstance(got, Failure):
                failed = Usage()
        finally:
            self._book(Usage(calls=1) + spent + waited + failed, extra)
        if isinstance(got, Failure | Fault):
            return got
        return Answered(got, waited + spent if told else waited)

    def _spent(self, response: Any, *, prompt: int, completion: int) -> tuple[Usage, bool]:
        """Tokens and dollars of an answer, those told before those given, and whether all were."""
        prompt, completion, told = token_counts(response, prompt=prompt, completion=completion)
        prices = self._line.prices
        if told:
            cost = prices.of_answer(response, prompt, completion)
        else:
            cost = prices.of_tokens(prompt, completion)
        spent = Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=cost or 0.0,
            unpriced=int(cost is None),
        )
        return spent, told

    def _book_beside(self, response: Any) -> None:
        """Book the tokens told for a try that is no use; the next one may need all that is held."""
        spent, _ = self._spent(response, prompt=0, completion=0)
        if spent.tokens:
            self._ledger.book(self._held.role, spent)

    def _book(self, usage: Usage, extra: Reservation | None) -> None:
        """Book a call; a further try's call was reserved on its own, its tokens were not."""
        if extra is None:
            self._held.book(usage)
            return
        extra.book(Usage(calls=usage.calls))
        self._held.book(usage.model_copy(update={"calls": 0}))
