"""`LiteLLMModel` over real HTTP, against a server on loopback that misbehaves as scripted."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest

from lanpo_memory.errors import (
    BudgetExceeded,
    ConfigError,
    InvalidInputError,
    MissingExtraError,
)
from lanpo_memory.ledger import Ledger, token_bound
from lanpo_memory.models import LiteLLMModel
from lanpo_memory.models.calling import Backoff, retry_after_s
from lanpo_memory.models.litellm_api import load_litellm
from lanpo_memory.models.scrubbing import Scrubber, Secret
from lanpo_memory.types import Completion, FailedAnswer, Failure, Usage
from tests.memory.openai_server import (
    Behaviour,
    OpenAIServer,
    Received,
    body,
    error,
    hang,
    logprobs,
    malformed,
    reply,
    reset,
    truncated,
)

KEY = "my-private-key-0123456789"
TRIES = 5  # one and four more, the default
YES_NO = ["yes", "no"]


@pytest.fixture(autouse=True)
def straight_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(text: str = "2 + 3?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def model_of(server: OpenAIServer, name: str = "openai/scripted", **settings: Any) -> LiteLLMModel:
    """A model that asks the server, and does not really wait between tries."""
    settings = {"api_key": KEY, "timeout_s": 20.0, "sleep": lambda _: None} | settings
    return LiteLLMModel(name, api_base=server.url, **settings)


def one(server: OpenAIServer, **settings: Any) -> Completion | Failure:
    (answer,) = model_of(server, **settings).generate([ask()], max_tokens=50)
    return answer


# Answers


def test_answers_come_in_the_order_of_the_conversations() -> None:
    def late(got: Received) -> Behaviour:  # the first come last
        return reply(f"answer to {got.text}").after(0.1 / (1 + int(got.text)))

    with OpenAIServer(late) as server:
        answers = model_of(server).generate([ask(str(n)) for n in range(16)], max_tokens=8)
    assert [each.text for each in answers] == [f"answer to {n}" for n in range(16)]


def test_a_request_says_what_was_asked_for() -> None:
    with OpenAIServer("5") as server:
        model_of(server).generate([ask()], max_tokens=7, temperature=0.5, stop=["\n\n"])
    (got,) = server.requests
    assert got.body == {
        "model": "scripted",
        "messages": ask(),
        "max_tokens": 7,
        "temperature": 0.5,
        "stop": ["\n\n"],
    }
    assert got.headers["authorization"] == f"Bearer {KEY}"


def test_options_override_what_the_model_sets() -> None:
    options = {"temperature": 0.9, "max_completion_tokens": 300, "seed": 7}
    with OpenAIServer("5") as server:
        one(server, options=options)
    sent = server.requests[0].body
    assert {name: sent[name] for name in options} == options
    assert "max_tokens" not in sent


def test_the_conversations_are_left_as_they_are() -> None:
    conversation = ask()
    with OpenAIServer("5") as server:
        model_of(server).generate([conversation], max_tokens=7)
    assert conversation == ask()


def test_a_completion_says_what_it_cost() -> None:
    ticks = iter(range(100))
    with OpenAIServer(reply("5", usage=(120, 30))) as server:
        answer = one(server, clock=lambda: float(next(ticks)), price=(0.01, 0.1))
    assert isinstance(answer, Completion)
    assert (answer.prompt_tokens, answer.completion_tokens) == (120, 30)
    assert (answer.seconds, answer.cost) == (1.0, pytest.approx(4.2))


def test_an_answer_that_reached_the_token_limit_is_truncated() -> None:
    with OpenAIServer(reply("The first st", finish="length")) as server:
        answer = one(server)
    assert isinstance(answer, Completion)
    assert (answer.text, answer.truncated) == ("The first st", True)


def test_a_provider_that_knows_no_stop_is_cut_here() -> None:
    with OpenAIServer("5\n### Next problem: 7") as server:
        (answer,) = model_of(server, "openai/gpt-5-mini").generate(
            [ask()], max_tokens=50, temperature=0.0, stop=["###"]
        )
    assert isinstance(answer, Completion)
    assert answer.text == "5\n"
    # A reasoning model takes neither a temperature nor stop sequences, and calls its limit so.
    assert server.requests[0].body == {
        "model": "gpt-5-mini",
        "messages": ask(),
        "max_completion_tokens": 50,
    }


def test_characters_that_cannot_be_stored_are_left_out() -> None:
    raw = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": None}]})
    raw = raw.replace("null", '{"role": "assistant", "content": "a\\u0000b\\ud800c"}')
    with OpenAIServer(Behaviour(payload=raw.encode())) as server:
        answer = one(server)
    assert isinstance(answer, Completion)
    assert answer.text == "abc"


def test_no_conversations_need_no_server() -> None:
    with OpenAIServer("5") as server:
        model = model_of(server, ledger=Ledger(max_calls=0, max_cost=0))
        assert model.generate([], max_tokens=5) == []
        assert model.choice_logprobs([], YES_NO).shape == (0, 2)
    assert server.requests == []


def test_a_server_of_ones_own_needs_no_key() -> None:
    with OpenAIServer("5") as server:
        answer = one(server, api_key=None)
    assert isinstance(answer, Completion)


def test_the_key_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer("5") as server:
        one(server, api_key=None)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


# Concurrency


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    with OpenAIServer(reply("5").after(60)) as server:
        model = model_of(server, concurrency=3, timeout_s=60)
        callers = [
            threading.Thread(target=model.generate, args=([ask()] * 6,), kwargs={"max_tokens": 5})
            for _ in range(2)  # both use the same model, and so the same three slots
        ]
        for caller in callers:
            caller.start()
        server.wait_for(3)
        time.sleep(0.2)  # time for a fourth that should not come
        assert len(server.requests) == 3
        server.release()
        for caller in callers:
            caller.join()
    assert len(server.requests) == 12
    assert server.max_in_flight == 3


# Faults, alone: what is sent, what comes of it, how often it waits

REFUSED = "I cannot help with that."
FAULTS: dict[str, tuple[Behaviour, int, str]] = {
    "429": (error(429, retry_after="7"), TRIES, "status 429: scripted error (after 5 tries)"),
    "429, quota used up": (error(429, "no quota", code="insufficient_quota"), 1, "no quota"),
    "408": (error(408), TRIES, "status 408"),
    "409": (error(409), TRIES, "status 409"),
    "500": (error(500), TRIES, "status 500"),
    "502": (error(502), TRIES, "status 502"),
    "503": (error(503, retry_after="3"), TRIES, "status 503"),
    "504": (error(504), TRIES, "status 504"),
    "529": (error(529), TRIES, "status 529"),
    "400": (error(400), 1, "status 400: scripted error"),
    "401": (error(401), 1, "status 401: scripted error"),
    "403": (error(403), 1, "status 403: scripted error"),
    "404": (error(404), 1, "status 404: scripted error"),
    "422": (error(422), 1, "status 422: scripted error"),
    "content policy": (error(400, "policy", code="content_policy_violation"), 1, "status 400"),
    "prompt too long": (error(400, "x", code="context_length_exceeded"), 1, "status 400"),
    "time-out": (hang(60), TRIES, "no answer within 0.3 s"),
    "hung up": (hang(0), TRIES, "the server cannot be reached, or the connection broke"),
    "connection reset": (reset(), TRIES, "the server cannot be reached, or the connection broke"),
    "truncated body": (truncated("x" * 500), TRIES, "the connection broke"),
    "malformed JSON": (malformed(), TRIES, "no readable answer: error - Expecting value"),
    "HTML": (malformed("<html>Bad gateway</html>"), TRIES, "no readable answer"),
    "empty body": (malformed(""), TRIES, "no readable answer"),
    "JSON list": (malformed("[1, 2]"), TRIES, "no readable answer"),
    "no choices": (body({"choices": []}), TRIES, "it holds no choices"),
    "choices missing": (body({}), TRIES, "no readable answer"),
    "message missing": (body({"choices": [{"message": None}]}), TRIES, "no readable answer"),
    "empty content": (reply(""), 1, "the answer is empty"),
    "null content": (reply(None), 1, "the answer is empty"),
    "only reasoning": (reply(None, finish="length"), 1, "raise max_tokens"),
    "refusal": (reply(None, refusal=REFUSED), 1, "the model refused to answer"),
    "content filter": (reply("So far", finish="content_filter"), 1, "content filter"),
}


@dataclass
class Outcome:
    """What came of one conversation under one fault."""

    answer: Completion | Failure
    requests: int
    pauses: list[float]
    usage: Usage


def under(behaviour: Behaviour, **settings: Any) -> Outcome:
    pauses: list[float] = []
    timeout_s = 0.3 if behaviour.how == "close" and behaviour.delay_s else 20.0
    with OpenAIServer(behaviour) as server:
        model = model_of(server, sleep=pauses.append, timeout_s=timeout_s, **settings)
        (answer,) = model.generate([ask()], max_tokens=50)
    return Outcome(answer, len(server.requests), pauses, model.ledger.total)


# Where the model was heard, and not only the call failed.
ANSWERED = {"empty content", "null content", "only reasoning", "refusal", "content filter"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_tried_again_only_where_that_may_help(name: str) -> None:
    behaviour, requests, reason = FAULTS[name]
    seen = under(behaviour)
    assert isinstance(seen.answer, Failure)
    assert reason in seen.answer.reason
    assert seen.answer.answered == (name in ANSWERED)
    assert (seen.requests, len(seen.pauses)) == (requests, requests - 1)
    assert (seen.usage.calls, seen.usage.failures) == (requests, requests)
    assert "Traceback" not in seen.answer.reason
    assert "litellm" not in seen.answer.reason


def test_what_was_said_instead_of_an_answer_is_kept() -> None:
    assert under(FAULTS["refusal"][0]).answer.text == REFUSED
    assert under(FAULTS["content filter"][0]).answer.text == "So far"


def test_a_refusal_that_cannot_be_stored_is_made_so() -> None:
    assert under(reply(None, refusal="No\0pe\ud800.")).answer.text == "Nope."


def test_a_reason_can_be_stored() -> None:
    answer = under(error(400, "cannot decode \ud800\0 or \U0001f600")).answer
    assert isinstance(answer, Failure)
    assert answer.reason == "status 400: cannot decode or \U0001f600"
    assert FailedAnswer(role="solve", problem_id="p", text="", reason=answer.reason)


@pytest.mark.parametrize("message", ["x" * 300_000, "no \ud800 " * 50_000])
def test_a_reason_is_short_however_long_the_message(message: str) -> None:
    answer = under(error(400, message)).answer
    assert isinstance(answer, Failure)
    assert answer.reason.startswith(f"status 400: {message[:3]}")
    assert answer.reason.endswith("…")
    assert len(answer.reason) <= 500


def test_a_reason_is_short_where_a_budget_ended_too() -> None:
    answer = under(error(500, "x" * 1000), ledger=Ledger(max_calls=1)).answer
    assert isinstance(answer, Failure)
    assert "max_calls=1" in answer.reason
    assert len(answer.reason) <= 500


@pytest.mark.parametrize("log_probability", [7.0, math.nan])
def test_a_reason_for_a_score_quotes_no_token(log_probability: float) -> None:
    listed = logprobs({"\ud800" * 1000: log_probability})
    with OpenAIServer(reply("yes", logprobs=listed)) as server:
        model = model_of(server, retries=0)
        assert np.isnan(model.choice_logprobs([ask()], YES_NO)).all()
    reason = f"no readable answer: {log_probability:g} is no log-probability"
    assert model.ledger.reasons("judge") == [(reason, 1)]


def test_a_try_that_succeeds_ends_the_trying() -> None:
    with OpenAIServer([error(500), reset(), "5", "never asked for"]) as server:
        answer = one(server)
    assert isinstance(answer, Completion)
    assert answer.text == "5"
    assert len(server.requests) == 3


def test_without_retries_there_is_one_request() -> None:
    assert under(error(503), retries=0).requests == 1


def test_a_server_that_is_not_there_is_a_failure() -> None:
    with OpenAIServer("5") as server:
        url = server.url
    model = LiteLLMModel("openai/x", api_base=url, retries=2, sleep=lambda _: None)
    (answer,) = model.generate([ask()], max_tokens=5)
    assert isinstance(answer, Failure)
    assert "Connection error. (after 3 tries)" in answer.reason


def test_missing_credentials_are_not_tried_again() -> None:
    pauses: list[float] = []
    (answer,) = LiteLLMModel("openai/x", sleep=pauses.append).generate([ask()], max_tokens=5)
    assert isinstance(answer, Failure)
    assert "OPENAI_API_KEY" in answer.reason
    assert pauses == []


def test_retries_that_were_set_elsewhere_add_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_litellm(), "num_retries", 3)
    assert under(error(500)).requests == TRIES


def test_the_pause_is_at_least_what_the_server_asks_for() -> None:
    assert [7.0 <= pause <= 8.0 for pause in under(error(429, retry_after="7")).pauses] == [
        True
    ] * 4


def test_the_pause_asked_for_may_be_a_date() -> None:
    when = formatdate(time.time() + 30, usegmt=True)
    pauses = under(error(503, retry_after=when), retries=1).pauses
    assert 20.0 <= pauses[0] <= 31.0


def test_a_pause_is_no_longer_than_allowed() -> None:
    seen = under(error(429, retry_after="3600"), max_backoff_s=9.0, retries=2)
    assert seen.pauses == [9.0, 9.0]


def test_pauses_double_and_vary_by_the_seed() -> None:
    pauses = under(error(500), backoff_s=2.0).pauses
    assert [1.0 * 2**k <= pause <= 2.0 * 2**k for k, pause in enumerate(pauses)] == [True] * 4
    assert under(error(500), backoff_s=2.0).pauses == pauses
    assert under(error(500), backoff_s=2.0, seed=1).pauses != pauses


def test_conversations_that_failed_together_do_not_return_together() -> None:
    backoff = Backoff(first_s=1.0, most_s=60.0, seed=0)
    assert len({backoff.pause_s(item=item, tries=1) for item in range(20)}) == 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), (" 0.5 ", 0.5), ("-3", 0.0), ("nan", 0.0), ("soon", 0.0), ("", 0.0)],
)
def test_a_wait_is_read_or_left_out(text: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


def test_an_endless_wait_is_cut_to_the_longest_pause() -> None:
    asked = retry_after_s({"retry-after": "inf"})
    assert Backoff(first_s=1, most_s=5, seed=0).pause_s(item=0, tries=1, at_least_s=asked) == 5


def test_a_date_is_compared_with_the_servers_own_clock() -> None:
    headers = {"date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after_s({**headers, "retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}) == 0.0
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}) == 0.0


# Faults, mixed

N = 200
MIX: dict[str, tuple[int, Behaviour]] = {  # name to weight and behaviour
    "answer": (50, reply("")),
    "429, Retry-After 2": (10, error(429, retry_after="2")),
    "500": (10, error(500)),
    "503": (5, error(503)),
    "connection reset": (6, reset()),
    "truncated body": (6, truncated("x" * 300)),
    "malformed JSON": (6, malformed()),
    "no choices": (3, body({"choices": []})),
    "time-out": (2, hang(60)),
    "400": (4, error(400)),
    "refusal": (4, reply(None, refusal=REFUSED)),
    "content filter": (3, reply("So far", finish="content_filter")),
    "empty content": (3, reply("")),
}
LASTING = {"400", "refusal", "content filter", "empty content"}


@dataclass
class Mixed:
    """A run of many conversations, each with faults of its own, drawn beforehand."""

    seed: int = 0
    tried: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    pauses: list[float] = field(default_factory=list)
    answers: list[Completion | Failure] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def plan(self, number: int) -> list[str]:
        names, weights = zip(*((name, weight) for name, (weight, _) in MIX.items()), strict=True)
        return random.Random(f"{self.seed}:{number}").choices(names, weights, k=TRIES)

    def expected(self, number: int) -> tuple[list[str], bool]:
        """The faults a conversation meets, and whether the last of them is an answer."""
        plan = self.plan(number)
        ends = [i for i, name in enumerate(plan) if name == "answer" or name in LASTING]
        met = plan[: ends[0] + 1] if ends else plan
        return met, met[-1] == "answer"

    def script(self, got: Received) -> Behaviour:
        number = int(re.findall(r"\d+", got.text)[0])
        name = self.plan(number)[len(self.tried[number])]
        self.tried[number].append(name)
        return reply(f"answer to {number}") if name == "answer" else MIX[name][1]

    def run(self) -> Mixed:
        with OpenAIServer(self.script) as server:
            model = model_of(server, sleep=self.pauses.append, timeout_s=3.0, concurrency=16)
            conversations = [ask(f"conversation {number}") for number in range(N)]
            self.answers = model.generate(conversations, max_tokens=20)
            self.requests, self.usage = list(server.requests), model.ledger.total
        return self


def test_under_a_mix_of_faults_every_conversation_gets_one_answer_in_its_place() -> None:
    seen = Mixed().run()
    assert len(seen.answers) == N
    assert len(seen.requests) <= TRIES * N
    assert len(seen.pauses) == len(seen.requests) - N
    assert seen.usage.calls == len(seen.requests)
    assert seen.usage.failures == len(seen.requests) - sum(
        isinstance(each, Completion) for each in seen.answers
    )
    for number, answer in enumerate(seen.answers):
        met, answered = seen.expected(number)
        assert seen.tried[number] == met
        assert isinstance(answer, Completion) is answered
        if isinstance(answer, Completion):
            assert answer.text == f"answer to {number}"
    assert sum(seen.expected(number)[1] for number in range(N)) > N / 2  # the mix is a mix


# The ledger


def test_the_ledger_counts_by_role() -> None:
    with OpenAIServer([reply("5", usage=(10, 2)), error(500), reply("6", usage=(20, 3))]) as server:
        model = model_of(server, concurrency=1, price=(1.0, 2.0))
        model.generate([ask(), ask()], max_tokens=5, role="summarise")
    usage = model.ledger.by_role()["summarise"]
    assert (usage.calls, usage.failures) == (3, 1)
    assert (usage.prompt_tokens, usage.completion_tokens) == (30, 5)
    assert (usage.cost, usage.unpriced) == (40.0, 0)
    assert usage.seconds > 0


def test_an_unknown_price_is_counted_as_such() -> None:
    with OpenAIServer([reply("5"), reply("6")]) as server:
        model = model_of(server)
        model.generate([ask(), ask()], max_tokens=5)
    assert (model.ledger.total.cost, model.ledger.total.unpriced) == (0.0, 2)


def test_litellms_prices_are_used() -> None:
    with OpenAIServer(reply("5", usage=(1_000_000, 0 + 100))) as server:
        model = model_of(server, "openai/gpt-4o-mini")
        (answer,) = model.generate([ask()], max_tokens=100)
    # 0.15 and 0.60 dollars a million tokens
    assert answer.cost == model.ledger.total.cost == pytest.approx(0.15006)
    assert model.ledger.total.unpriced == 0


def test_an_answer_that_was_refused_has_its_tokens_booked() -> None:
    with OpenAIServer(reply(None, refusal=REFUSED, usage=(10, 4))) as server:
        model = model_of(server, price=(1.0, 1.0))
        model.generate([ask()], max_tokens=50)
    total = model.ledger.total
    assert (total.calls, total.failures, total.tokens, total.cost) == (1, 1, 14, 14.0)


TOLD = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


def no_choices(**counts: int) -> Behaviour:
    return body({"choices": [], "usage": TOLD | counts})


def test_a_try_that_is_repeated_has_the_tokens_booked_that_were_told() -> None:
    with OpenAIServer([no_choices(), error(500), reply("5", usage=(10, 4))]) as server:
        model = model_of(server, price=(1.0, 2.0))
        (answer,) = model.generate([ask()], max_tokens=50)
    total = model.ledger.total
    assert (total.calls, total.failures, total.unpriced) == (3, 2, 0)
    assert (total.prompt_tokens, total.completion_tokens, total.cost) == (1010, 504, 2018.0)
    assert isinstance(answer, Completion)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost) == (10, 4, 18.0)


def test_the_last_try_has_its_tokens_booked_too() -> None:
    total = under(no_choices(), retries=1).usage
    assert (total.calls, total.failures, total.unpriced) == (2, 2, 2)
    assert (total.prompt_tokens, total.completion_tokens) == (2000, 1000)


def test_a_prompt_is_booked_where_nothing_was_completed() -> None:
    total = under(no_choices(completion_tokens=0), retries=0, price=(1.0, 2.0)).usage
    assert (total.prompt_tokens, total.completion_tokens, total.cost) == (1000, 0, 1000.0)


def test_a_try_without_counts_is_repeated_and_booked_without_tokens() -> None:
    total = under(body({"choices": []}), retries=1).usage
    assert (total.calls, total.failures, total.tokens, total.unpriced) == (2, 2, 0, 0)


def test_a_further_try_does_not_cross_a_budget_of_tokens() -> None:
    most = token_bound(ask()) + 50  # what one try may use
    used = no_choices(prompt_tokens=10, completion_tokens=20)
    for budget, sent in ((most + 29, 1), (most + 30, 2), (most + 60, 3)):
        with OpenAIServer(used) as server:
            model = model_of(server, ledger=Ledger(max_tokens=budget), retries=2)
            (answer,) = model.generate([ask()], max_tokens=50)
        assert isinstance(answer, Failure)
        assert ("max_tokens" in answer.reason) is (sent < 3)
        assert len(server.requests) == sent
        assert model.ledger.total.tokens == sent * 30 <= budget


def test_an_answer_without_counts_is_booked_at_the_most_it_can_have_used() -> None:
    with OpenAIServer(reply("5", usage=None)) as server:
        model = model_of(server, "openai/gpt-4o-mini")
        (answer,) = model.generate([ask()], max_tokens=50)
    total = model.ledger.total
    assert (total.prompt_tokens, total.completion_tokens) == (token_bound(ask()), 50)
    assert total.cost == pytest.approx(token_bound(ask()) * 0.15e-6 + 50 * 0.6e-6)
    assert isinstance(answer, Completion)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("budget", "settings"),
    [
        ({"max_calls": 1}, {}),
        ({"max_tokens": 2 * (token_bound(ask()) + 50) - 1}, {}),
        ({"max_cost": 2 * (token_bound(ask()) + 2 * 50) - 1}, {"price": (1.0, 2.0)}),
    ],
)
def test_a_batch_that_could_cross_a_budget_is_not_begun(
    budget: dict[str, Any], settings: dict[str, Any]
) -> None:
    with OpenAIServer("5") as server:
        model = model_of(server, ledger=Ledger(**budget), **settings)
        with pytest.raises(BudgetExceeded, match=next(iter(budget))):
            model.generate([ask(), ask()], max_tokens=50)
        assert server.requests == []
        assert model.ledger.total == Usage()
        assert len(model.generate([ask()], max_tokens=50)) == 1


def test_a_budget_in_dollars_needs_a_price() -> None:
    with OpenAIServer("5") as server:
        model = model_of(server, ledger=Ledger(max_cost=1.0))
        with pytest.raises(ConfigError, match="no price is known"):
            model.generate([ask()], max_tokens=5)
    assert server.requests == []


def test_options_with_a_larger_limit_count_for_the_budget() -> None:
    with OpenAIServer("5") as server:
        model = model_of(server, ledger=Ledger(max_tokens=200), options={"max_tokens": 500})
        with pytest.raises(BudgetExceeded):
            model.generate([ask()], max_tokens=5)


def test_a_further_try_that_would_cross_the_budget_is_a_failure_and_the_batch_goes_on() -> None:
    def script(got: Received) -> Behaviour:
        return error(500) if got.text == "bad" else reply("5")

    with OpenAIServer(script) as server:
        model = model_of(server, ledger=Ledger(max_calls=4), concurrency=1)
        bad, *good = model.generate([ask("bad"), ask("a"), ask("b")], max_tokens=5)
    assert isinstance(bad, Failure)
    assert "status 500" in bad.reason
    assert "max_calls=4" in bad.reason
    assert [each.text for each in good] == ["5", "5"]
    assert model.ledger.total.calls == len(server.requests) == 4


def test_what_was_set_aside_is_given_back() -> None:
    with OpenAIServer([reply("5", usage=(10, 5)), error(500), reply("6", usage=(10, 5))]) as server:
        model = model_of(server, ledger=Ledger(max_calls=4, max_tokens=200), concurrency=1)
        model.generate([ask(), ask()], max_tokens=40)
        model.ledger.reserve("solve", calls=1, tokens=170).release()
        with pytest.raises(BudgetExceeded):
            model.ledger.reserve("solve", calls=1, tokens=171)


def test_an_interrupt_ends_the_batch_and_what_was_sent_is_booked() -> None:
    def script(got: Received) -> Behaviour:
        if got.number == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return reply("5").after(0.2)

    with OpenAIServer(script) as server:
        model = model_of(server, concurrency=2, ledger=Ledger(max_calls=30))
        with pytest.raises(KeyboardInterrupt):
            model.generate([ask()] * 30, max_tokens=5)
        booked, sent = model.ledger.total.calls, len(server.requests)
    assert booked == sent <= 4
    model.ledger.reserve("solve", calls=30 - sent).release()


def test_an_interrupt_ends_a_pause() -> None:
    def script(got: Received) -> Behaviour:
        threading.Timer(
            0.2, signal.pthread_kill, (threading.main_thread().ident or 0, signal.SIGINT)
        ).start()
        return error(429, retry_after="50")

    with OpenAIServer(script) as server:
        model = model_of(server, sleep=None)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model.generate([ask()], max_tokens=5)
        assert time.monotonic() - begun < 30
        assert len(server.requests) == model.ledger.total.calls == 1


def test_an_error_of_ours_ends_the_batch_and_is_raised() -> None:
    def broken(_: float) -> None:
        raise ZeroDivisionError("a clock that fails")

    with OpenAIServer([error(500)] + ["5"] * 49) as server:
        model = model_of(server, concurrency=1, sleep=broken, ledger=Ledger(max_calls=51))
        with pytest.raises(ZeroDivisionError):
            model.generate([ask()] * 50, max_tokens=5)
    assert model.ledger.total.calls == len(server.requests) == 1
    model.ledger.reserve("solve", calls=50).release()


# Choices


def scored(*tokens: dict[str, float], text: str = "yes", **settings: Any) -> list[float]:
    with OpenAIServer(reply(text, logprobs=logprobs(*tokens))) as server:
        (row,) = model_of(server, **settings).choice_logprobs([ask()], YES_NO)
    return row.tolist()


def test_one_request_asks_for_the_alternatives_of_one_token() -> None:
    with OpenAIServer(reply("yes", logprobs=logprobs({"yes": -0.1, "no": -2.5}))) as server:
        model = model_of(server)
        rows = model.choice_logprobs([ask(), ask()], YES_NO)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[-0.1, -2.5]] * 2, rtol=1e-6)
    assert server.requests[0].body == {
        "model": "scripted",
        "messages": ask(),
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert model.ledger.by_role()["judge"].calls == len(server.requests) == 2


def test_ways_to_write_a_choice_add_up() -> None:
    listed = {
        "Yes": math.log(0.4),
        " yes": math.log(0.3),
        "YES": math.log(0.1),
        "no": math.log(0.2),
    }
    assert scored(listed) == pytest.approx([math.log(0.8), math.log(0.2)], abs=1e-6)


def test_a_beginning_counts_for_the_only_choice_that_has_it() -> None:
    listed = {"cor": math.log(0.6), "in": math.log(0.3), "correct": math.log(0.1)}
    with OpenAIServer(reply("cor", logprobs=logprobs(listed))) as server:
        (row,) = model_of(server).choice_logprobs([ask()], ["correct", "incorrect"])
    np.testing.assert_allclose(np.exp(row), [0.7, 0.3], rtol=1e-5)


def test_a_beginning_that_two_choices_share_counts_for_neither() -> None:
    listed = {"part": math.log(0.5), "parting": math.log(0.3), "": math.log(0.1)}
    with OpenAIServer(reply("part", logprobs=logprobs(listed))) as server:
        (row,) = model_of(server).choice_logprobs([ask()], ["partial", "parting"])
    np.testing.assert_allclose(np.exp(row), [0.1, 0.3], rtol=1e-5)


def test_a_choice_that_is_not_listed_gets_at_most_what_is_left() -> None:
    assert scored({"yes": math.log(0.9), "maybe": math.log(0.06)}) == pytest.approx(
        [math.log(0.9), math.log(0.04)], abs=1e-5
    )
    # never more than the least likely of those that are listed
    assert scored({"yes": math.log(0.5), "maybe": math.log(0.01)})[1] == pytest.approx(
        math.log(0.01)
    )
    # and never nothing
    assert scored({"yes": 0.0})[1] == pytest.approx(math.log(1e-6))


def test_the_chosen_token_counts_where_no_alternatives_are_listed() -> None:
    token = {"token": "no", "logprob": math.log(0.75), "top_logprobs": []}
    with OpenAIServer(reply("no", logprobs={"content": [token]})) as server:
        (row,) = model_of(server).choice_logprobs([ask()], YES_NO)
    np.testing.assert_allclose(np.exp(row), [0.25, 0.75], rtol=1e-5)


def test_white_space_before_the_answer_is_passed_over() -> None:
    blank, said = {"\n": -0.1, "yes": -3.0}, {"no": math.log(0.8), "yes": math.log(0.2)}
    row = scored(blank, said, text="\nno", options={"max_tokens": 16})
    assert np.exp(row).tolist() == pytest.approx([0.2, 0.8], abs=1e-6)


def test_options_reach_a_scoring_request() -> None:
    with OpenAIServer(reply("no", logprobs=logprobs({"no": -0.1}))) as server:
        model = model_of(server, options={"top_logprobs": 5, "max_tokens": 16})
        model.choice_logprobs([ask()], YES_NO)
    assert server.requests[0].body["top_logprobs"] == 5
    assert server.requests[0].body["max_tokens"] == 16


@pytest.mark.parametrize(
    "behaviour",
    [
        error(400),
        error(500),
        reply(None, refusal=REFUSED),
        reply("", finish="content_filter"),
        reply(""),
        reply("yes", logprobs=logprobs({"yes": 7.0})),
    ],
)
def test_a_call_that_fails_is_a_row_of_nan(behaviour: Behaviour) -> None:
    good = reply("yes", logprobs=logprobs({"yes": -0.1, "no": -2.5}))
    with OpenAIServer(lambda got: behaviour if got.text == "bad" else good) as server:
        model = model_of(server)
        rows = model.choice_logprobs([ask("good"), ask("bad"), ask("good")], YES_NO)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]
    assert model.ledger.total.calls == len(server.requests)
    assert model.ledger.total.failures == len(server.requests) - 2


def test_an_answer_without_logprobs_names_the_remedy() -> None:
    with OpenAIServer("yes") as server:
        model = model_of(server, concurrency=1)
        with pytest.raises(ConfigError, match="TransformersModel"):
            model.choice_logprobs([ask()] * 20, YES_NO)
    assert model.ledger.total.calls == len(server.requests) < 20


def test_a_model_known_to_tell_no_logprobs_is_not_asked() -> None:
    with OpenAIServer("yes") as server:
        for name in ("openai/o3-mini", "anthropic/claude-3-5-haiku-20241022"):
            with pytest.raises(ConfigError, match="TransformersModel"):
                model_of(server, name).choice_logprobs([ask()], YES_NO)
    assert server.requests == []


def test_a_budget_holds_for_scoring_too() -> None:
    with OpenAIServer("yes") as server:
        model = model_of(server, ledger=Ledger(max_calls=1))
        with pytest.raises(BudgetExceeded):
            model.choice_logprobs([ask(), ask()], YES_NO)
    assert server.requests == []


@pytest.mark.parametrize("choices", [[], [""], ["yes", " YES"], "yes"])
def test_choices_have_to_differ(choices: Any) -> None:
    with OpenAIServer("yes") as server, pytest.raises(InvalidInputError, match="choices"):
        model_of(server).choice_logprobs([ask()], choices)


def test_the_fingerprint_names_model_and_server_but_no_key() -> None:
    def name(**settings: Any) -> str:
        return LiteLLMModel("openai/m", **settings).fingerprint

    assert name() == "litellm:openai/m"
    assert name(api_base="https://user:pa55word@host:81/v1") == "litellm:openai/m@host:81"
    headed = {"extra_headers": {"x": "y"}, "my_api_key": KEY}
    assert name(options=headed, api_key=KEY) == name()
    assert len({name(), name(options={"top_p": 0.5}), name(options={"top_p": 0.6})}) == 3


# Keys


@pytest.fixture
def every_logger() -> Any:
    """All loggers at their most talkative, and back again."""
    loggers = [logging.getLogger(name) for name in ("", *logging.root.manager.loggerDict)]
    levels = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in levels:
        logger.setLevel(level)


@pytest.mark.parametrize("given", [True, False])
def test_the_key_is_never_shown(
    *,
    given: bool,
    every_logger: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not given:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for behaviour in (
        error(401, "no", echo_headers=True),
        error(500, "no", echo_headers=True),
        "5",
    ):
        with OpenAIServer(behaviour) as server:
            model = model_of(server, api_key=KEY if given else None)
            (answer,) = model.generate([ask()], max_tokens=5)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        shown = [repr(model), repr(answer), str(vars(model)), model.fingerprint]
        assert KEY not in " ".join(shown)
    assert isinstance(answer, Completion)
    printed = capfd.readouterr()
    assert KEY not in caplog.text + printed.out + printed.err
    assert caplog.text  # the loggers did talk


def test_a_key_is_masked_before_a_long_message_is_cut() -> None:
    for length in range(250, 300, 7):
        answer = under(error(400, "x" * length + KEY)).answer
        assert isinstance(answer, Failure)
        assert KEY[:6] not in answer.reason


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided: sk-abc123XYZ. You can find it",
        "Incorrect API key provided: abcd*************wxyz.",
        "headers: {'Authorization': 'Bearer abc.def/123'}",
        "GET /v1?alt=json&key=abc123wxyz failed",
        '{"api_key": "abc123wxyz"}',
        "x-api-key: abc123wxyz",
        "bad key AIzaabc123wxyzABCDEF",
        "token hf_abc123wxyz00 refused",
    ],
)
def test_what_looks_like_a_key_is_masked(message: str) -> None:
    masked = Scrubber()(message)
    assert "[key]" in masked
    assert not re.search(r"abc|wxyz", masked)


def test_looking_for_keys_in_a_long_text_takes_no_long_time() -> None:
    begun = time.monotonic()
    for part in ("x", "x ", "-eyJaaaaaaaa", "x***", KEY):
        assert KEY[:6] not in Scrubber([KEY])(part * 300_000)
    assert time.monotonic() - begun < 60  # hours, if time grew with the square of the length


def test_a_half_masked_key_is_masked_whole() -> None:
    assert Scrubber()("key abc***xyz, ***xyz, abc***") == "key [key], [key], [key]"
    assert Scrubber()("eyJabcdefgh.abc***xyz") == "[key][key]"


def test_plain_text_is_not_masked() -> None:
    text = "task-oriented, risk-averse: The hf hub (2 * 3 ** 4) says that a key value is missing"
    assert Scrubber(["abc"])(text) == text


def test_keys_in_options_and_in_the_address_are_masked() -> None:
    secret = "hunter2-hunter2"
    script = error(401, f"{secret} and pa55word are wrong")
    with OpenAIServer(script) as server:
        model = LiteLLMModel(
            "openai/scripted",
            api_base=server.url.replace("//", "//user:pa55word@"),
            options={"extra_headers": {"X-Token": secret}},
        )
        (answer,) = model.generate([ask()], max_tokens=5)
    assert isinstance(answer, Failure)
    assert answer.reason == "status 401: [key] and [key] are wrong"
    assert server.requests[0].headers["x-token"] == secret


def test_a_secret_hides_in_a_traceback_and_is_sent_all_the_same() -> None:
    assert KEY not in repr({"key": Secret(KEY)})
    assert f"{Secret(KEY)}" == KEY


# The network

OFFLINE = """
import os, socket, sys
def refuse(*args, **kwargs):
    os._exit(3)
socket.socket.connect = socket.getaddrinfo = refuse
from lanpo_memory.models import LiteLLMModel
assert "litellm" not in sys.modules and "torch" not in sys.modules
LiteLLMModel("anthropic/claude-3-5-haiku-20241022")
import litellm
for name in ("llama-2-7b", "meta-llama-3-8b", "command-r", "claude-3-haiku-20240307"):
    assert litellm.token_counter(name, text="five plus two") > 0
assert "torch" not in sys.modules
assert litellm.litellm_mode == "PRODUCTION"  # in its other mode it reads a `.env` file
"""


def test_litellm_is_imported_when_needed_and_fetches_nothing() -> None:
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    run = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=online, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# Bad input


def test_without_litellm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtraError, match=r"lanpo\[llm\]"):
        LiteLLMModel("openai/x")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": " "}, "no name"),
        ({"model": "nobody/knows"}, "provider"),
        ({"concurrency": 0}, "concurrency"),
        ({"retries": -1}, "retries"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": math.nan}, "timeout_s"),
        ({"backoff_s": -1}, "backoff_s"),
        ({"max_backoff_s": math.inf}, "max_backoff_s"),
        ({"price": (0.1, -0.1)}, "price"),
        ({"price": (0.1,)}, "price"),
        ({"api_base": "localhost:8000"}, "api_base"),
        ({"api_base": "http://localhost:port/v1"}, "api_base"),
        ({"options": {"n": 2}}, "options may not hold n"),
        ({"options": {"api_key": KEY, "stream": True}}, "options may not hold api_key, stream"),
        ({"options": {"fallbacks": ["gpt-4o"]}}, "fallbacks"),
        ({"options": {"max_tokens": 0}}, "max_tokens"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        LiteLLMModel(**{"model": "openai/x"} | settings)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("conversations", "settings"),
    [
        ([ask(), []], {}),
        ([ask(), "2 + 3?"], {}),
        ([ask(), ["2 + 3?"]], {}),
        ([ask(), [{"content": "2 + 3?"}]], {}),
        ([ask()], {"max_tokens": 0}),
        ([ask()], {"temperature": -0.1}),
        ([ask()], {"temperature": math.nan}),
        ([ask()], {"stop": [""]}),
    ],
)
def test_bad_arguments_raise_before_anything_is_sent(
    conversations: Any, settings: dict[str, Any]
) -> None:
    with OpenAIServer("5") as server:
        with pytest.raises(InvalidInputError):
            model_of(server).generate(conversations, **{"max_tokens": 5} | settings)
        assert server.requests == []


# The server itself


def test_a_script_that_is_used_up_says_so() -> None:
    with OpenAIServer(["5"]) as server:
        first, second = model_of(server, concurrency=1).generate([ask(), ask()], max_tokens=5)
    assert isinstance(first, Completion)
    assert isinstance(second, Failure)
    assert "the script has 1 behaviours" in second.reason
