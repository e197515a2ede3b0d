"""Comparisons for threads that no signal can interrupt, in a process whose main thread one can.

``python -m lanpo_rl.rewards.helper`` answers one line of JSON with another until its input ends,
which it does when the process that started it is gone.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache

from lanpo_memory.errors import LanpoError, MissingExtraError
from lanpo_rl.rewards.mathematics import LIMIT_S, Pair, compared

__all__ = ["Helper", "compared_elsewhere"]

_START_S = 60.0  # to start a process and load math-verify and sympy on a busy machine
_COMMAND = (sys.executable, "-m", "lanpo_rl.rewards.helper")


class Helper:
    """One process that compares; started when it is first needed, replaced when it is stuck.

    Threads take turns. Interpreted code would make them do so anyway.

    Args:
        command: what to start.
        limit_s: seconds for one comparison, after which the process is killed and the answer is
            no. It bounds itself sooner; this is for work that no signal interrupts.
    """

    def __init__(
        self, command: Sequence[str] = _COMMAND, *, limit_s: float = 3 * LIMIT_S + 5.0
    ) -> None:
        self._command, self._limit_s = list(command), limit_s
        self._turn = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def compared(self, pairs: Sequence[Pair]) -> list[bool]:
        """Whether each answer equals its reference."""
        with self._turn:
            return [self._ask(pair) for pair in pairs]

    def close(self) -> None:
        """End the process. It is started anew at the next question."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, pair: Pair) -> bool:
        process = self._process or self._started()
        answer = _said(process, json.dumps(pair), self._limit_s)
        if answer not in ("true", "false"):
            self.close()
        return answer == "true"

    def _started(self) -> subprocess.Popen[str]:
        paths = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is for the run; this ends with its input
            env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        )
        if _said(self._process, "", _START_S) != "ready":
            self.close()
            raise LanpoError(
                "the process that compares answers off the main thread did not start; call "
                "math_accuracy on the main thread instead"
            )
        return self._process


def _said(process: subprocess.Popen[str], line: str, limit_s: float) -> str | None:
    """Its answer to a line, `None` if none comes in time. Answers are far smaller than a pipe."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + "\n")
    except OSError:  # it is gone
        return None
    if not select.select([process.stdout], [], [], limit_s)[0]:
        return None
    return process.stdout.readline().strip()


@cache
def _helper(process_id: int) -> Helper:  # a forked process must not share the pipes
    helper = Helper()
    atexit.register(lambda: helper.close() if os.getpid() == process_id else None)
    return helper


def compared_elsewhere(pairs: Sequence[Pair]) -> list[bool]:
    """As `compared`, from any thread.

    Raises:
        MissingExtraError: math-verify is not installed.
        LanpoError: no process could be started.
    """
    from importlib.util import find_spec

    if find_spec("math_verify") is None:
        raise MissingExtraError("math-verify", "rl")
    return _helper(os.getpid()).compared(pairs) if pairs else []


def serve() -> None:
    """Answer questions until there are no more."""
    for line in sys.stdin:
        pairs = [tuple(json.loads(line))] if line.strip() else []
        found = compared(pairs)  # of none: math-verify gets loaded
        sys.stdout.write((json.dumps(found[0]) if found else "ready") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
