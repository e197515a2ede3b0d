"""A second process, from the side of the test."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from typing import Any, Self

import pytest

__all__ = ["Process"]

_ANSWERS_S = 300.0  # a process that says nothing for so long hangs
_STOPS_S = 60.0  # how long a process may take to close its store and end


class Process:
    """A process of `lanpo_memory.testing.conformance.worker`; a context manager that ends it.

    Args:
        kit: the instance of the test class, whose file and name the process is told.
        place: where its store is.
    """

    def __init__(self, kit: object, place: str) -> None:
        name = type(kit).__qualname__
        if "<locals>" in name:
            pytest.fail(f"{name} has to stand at the top of its file: a second process loads it")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lanpo_memory.testing.conformance.worker",
                inspect.getfile(type(kit)),
                name,
                place,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:  # it was killed
            return
        try:
            self._process.communicate(timeout=_STOPS_S)  # ends its input, and so its work
        finally:
            self.kill()

    def send(self, command: str, **options: Any) -> None:
        """Say what to do; the answers are to be read with `line`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **options}) + "\n")
        self._process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """The next answer: `said`, or the name of an `error` and its `message`."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(_ANSWERS_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self._process.wait(_STOPS_S)
            self._errors.seek(0)
            pytest.fail(f"the second process ended: {self._errors.read().decode()[-4_000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def answer(self, command: str, **options: Any) -> dict[str, Any]:
        """Say what to do, and wait for the answer."""
        self.send(command, **options)
        return self.line()

    def ask(self, command: str, **options: Any) -> Any:
        """What it said; an error fails the test."""
        return self.said(command, self.answer(command, **options))

    @staticmethod
    def said(command: str, answer: dict[str, Any]) -> Any:
        """What an answer says; an error fails the test."""
        if "error" in answer:
            pytest.fail(f"in a second process, {command}: {answer['error']}: {answer['message']}")
        return answer["said"]

    def kill(self) -> list[dict[str, Any]]:
        """SIGKILL; returns the answers that nobody has read yet, the last one if it is whole."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_STOPS_S)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        rest = [] if stdout.closed else stdout.read().splitlines(keepends=True)
        for file in (stdin, stdout, self._errors):
            try:
                file.close()
            except BrokenPipeError:  # what it was told last, nobody will read
                continue
        return [json.loads(line) for line in rest if line.endswith("\n")]
