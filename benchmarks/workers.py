"""Each system under test lives in a process of its own, and answers one question at a time.

So memory is its own, nothing warms another's caches, and the questions to several systems can be
asked in turns. The clock runs inside the process that answers.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
OFFLINE = {
    "ANONYMIZED_TELEMETRY": "False",
    "HF_HUB_OFFLINE": "1",
    "MEM0_TELEMETRY": "False",
    "TOKENIZERS_PARALLELISM": "false",
}


class WorkerError(Exception):
    """A process answered with an error, went away, or took too long."""


def environment(**more: str) -> dict[str, str]:
    """The variables every measured process gets."""
    fixed = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **THREADS, **OFFLINE, **fixed, **more}


@functools.cache
def isolation() -> tuple[str, ...]:
    """The command that starts a process without any network interface, where there is one."""
    command = ("unshare", "-rn")
    if shutil.which(command[0]) is None:
        return ()
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def scrub(text: str) -> str:
    """Leave this machine's own paths out of what is written down."""
    for path, name in ((str(ROOT), "."), (str(Path.home()), "~"), (sys.prefix, "<python>")):
        text = text.replace(path, name)
    return text


class Worker:
    """A `benchmarks.serve` process.

    Args:
        subject: name of a class of `benchmarks.subjects`.
        python: the interpreter; this one by default.
        options: arguments of that class.
    """

    def __init__(
        self, subject: str, *, python: str | Path = sys.executable, **options: Any
    ) -> None:
        self.subject = subject
        self._process = subprocess.Popen(
            [*isolation(), str(python), "-m", "benchmarks.serve", subject, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._complaints: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._collect, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.kill()

    def ask(self, question: str, *, timeout_s: float = 3600, **arguments: Any) -> Any:
        """Call a method of the subject and return what it returns.

        Raises:
            WorkerError: it raised, or did not answer in time; then the process is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([question, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            message = f"{self.subject}.{question} took longer than {timeout_s:.0f} s"
            raise WorkerError(message) from None
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            raise WorkerError(f"{self.subject}.{question}: the process ended. {self._last_words()}")
        answer: Mapping[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.subject}.{question}: {scrub(answer['error'])}")
        return answer["result"]

    def finish(self) -> None:
        """Let the process end by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process without a chance to clean up (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _collect(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._complaints = [*self._complaints[-19:], line.rstrip()]

    def _last_words(self) -> str:
        return scrub(" | ".join(self._complaints[-5:]))
