"""An OpenAI-compatible server on loopback that answers, and misbehaves, as scripted.

::

    with OpenAIServer([reply("5"), error(429, retry_after="2"), "7"]) as server:
        model = LiteLLMModel("openai/scripted", api_base=server.url, api_key="sk-test")
        ...
        server.requests[0].text, len(server.requests), server.max_in_flight

The script is one behaviour for every request, a list used up in the order requests come in, or a
function of the request. A behaviour is a string (that answer) or what one of these returns:
`reply`, `body`, `error`, `malformed`, `truncated`, `reset`, `hang`; `.after(seconds)` delays it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

__all__ = [
    "Behaviour",
    "OpenAIServer",
    "Received",
    "body",
    "error",
    "hang",
    "logprobs",
    "malformed",
    "reply",
    "reset",
    "truncated",
]

PATHS = ("/chat/completions", "/v1/chat/completions")


@dataclass(frozen=True)
class Received:
    """A request as it came in: its number (from 0), JSON body, headers (lower case) and time."""

    number: int
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    at: float = field(compare=False)

    @property
    def text(self) -> str:
        """What the last message says."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request: wait, then send `payload`, or break off."""

    status: int = 200
    payload: Mapping[str, Any] | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    how: Literal["send", "truncate", "reset", "close"] = "send"
    delay_s: float = 0.0
    echo_headers: bool = False

    def after(self, seconds: float) -> Behaviour:
        """The same, some time later, or as soon as the server is released or closed."""
        return dataclasses.replace(self, delay_s=seconds)


Script = str | Behaviour | Sequence[str | Behaviour] | Callable[[Received], str | Behaviour]


def reply(
    text: str | None,
    *,
    finish: str = "stop",
    usage: tuple[int, int] | None = (10, 5),
    refusal: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
) -> Behaviour:
    """An answer; `usage` is (prompt, completion) tokens, `None` leaves it out."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
    return body({**_usage(usage), "choices": [choice]})


def body(payload: Mapping[str, Any]) -> Behaviour:
    """An answer with any JSON object; the usual fields around it are filled in."""
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "scripted"}
    return Behaviour(payload={**head, **payload})


def _usage(usage: tuple[int, int] | None) -> dict[str, Any]:
    if usage is None:
        return {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {"usage": dict(zip(names, (*usage, sum(usage)), strict=True))}


def logprobs(*tokens: Mapping[str, float]) -> dict[str, Any]:
    """The `logprobs` of an answer: per token its alternatives, the one that was chosen first."""
    return {"content": [_token(alternatives) for alternatives in tokens]}


def _token(alternatives: Mapping[str, float]) -> dict[str, Any]:
    top = [{"token": token, "logprob": value} for token, value in alternatives.items()]
    return {**top[0], "top_logprobs": top}


def error(
    status: int,
    message: str = "scripted error",
    *,
    code: str | None = None,
    retry_after: str | None = None,
    echo_headers: bool = False,
) -> Behaviour:
    """An OpenAI error body. `echo_headers` puts the request's headers, key included, into it."""
    detail = {"message": message, "type": "scripted", "param": None, "code": code}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Behaviour(status, {"error": detail}, headers, echo_headers=echo_headers)


def malformed(text: str = '{"choices": [{"message": ') -> Behaviour:
    """A whole body that is no JSON, or only half of it."""
    return Behaviour(payload=text.encode())


def truncated(text: str = "an answer that breaks off") -> Behaviour:
    """Half of what the header `Content-Length` promised, then the end of the connection."""
    return dataclasses.replace(reply(text), how="truncate")


def reset() -> Behaviour:
    """The connection is reset without an answer."""
    return Behaviour(how="reset")


def hang(seconds: float = 30.0) -> Behaviour:
    """Nothing for so long, then the end of the connection."""
    return Behaviour(how="close", delay_s=seconds)


class OpenAIServer:
    """A context manager that serves `/v1/chat/completions` on a free port of 127.0.0.1.

    A list that is used up is answered with status 400, which no client tries again.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[Received] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self._script = script
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The address to be given as `api_base`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def release(self) -> None:
        """Let go of all requests that wait, and of those to come."""
        self._released.set()

    def wait_for(self, n: int, *, timeout_s: float = 20.0) -> None:
        """Return when `n` requests have come in."""
        deadline = time.monotonic() + timeout_s
        while len(self.requests) < n:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {n} requests came in"
            time.sleep(0.005)

    def _receive(self, path: str, payload: Any, headers: Mapping[str, str]) -> Behaviour:
        with self._lock:
            number = len(self.requests)
            got = Received(number, path, payload, headers, time.monotonic())
            self.requests.append(got)
            behaviour = self._choose(got)
        if isinstance(behaviour, str):
            return reply(behaviour)
        return _echoing(behaviour, headers) if behaviour.echo_headers else behaviour

    def _choose(self, got: Received) -> str | Behaviour:
        if isinstance(self._script, str | Behaviour):
            return self._script
        if callable(self._script):
            return self._script(got)
        if got.number >= len(self._script):
            return error(400, f"the script has {len(self._script)} behaviours only")
        return self._script[got.number]

    def _count(self, more: int) -> None:
        with self._lock:
            self.in_flight += more
            self.max_in_flight = max(self.max_in_flight, self.in_flight)


def _echoing(behaviour: Behaviour, headers: Mapping[str, str]) -> Behaviour:
    assert isinstance(behaviour.payload, Mapping)
    detail = behaviour.payload["error"]
    message = f"{detail['message']} {json.dumps(dict(headers))}"
    return dataclasses.replace(behaviour, payload={"error": {**detail, "message": message}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: OpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has hung up is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        owner._count(+1)
        try:
            behaviour = self._read(owner)
            owner._released.wait(behaviour.delay_s)
        finally:
            owner._count(-1)
        self._act(behaviour)

    def _read(self, owner: OpenAIServer) -> Behaviour:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path not in PATHS:
            return error(404, f"no such path: {self.path}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return owner._receive(self.path, json.loads(raw), headers)

    def _act(self, behaviour: Behaviour) -> None:
        self.close_connection = True
        if behaviour.how == "reset":
            linger = struct.pack("ii", 1, 0)  # a close that sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        if behaviour.how in ("send", "truncate"):
            self._send(behaviour)

    def _send(self, behaviour: Behaviour) -> None:
        payload = behaviour.payload
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        with contextlib.suppress(OSError):  # the client may have stopped waiting
            self.send_response(behaviour.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")  # no thread outlives its request
            for name, value in behaviour.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if behaviour.how == "truncate" else data)

    def log_message(self, *args: Any) -> None:
        """Be silent."""
