"""A Chroma server for tests: on a free port, in a folder of its own, to be killed and started."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.memory.servers import absent, free_port

__all__ = ["ChromaServer", "chroma_installed", "chroma_server", "chroma_url"]

_START_S = 60.0  # on a busy machine


class ChromaServer:
    """`chroma run` over a folder; it comes back on the same port."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, collection: str) -> str:
        """The address of a pool on it."""
        return f"chroma+http://127.0.0.1:{self.port}/{collection}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [_program(), "run", "--path", str(self.folder), "--host", "127.0.0.1"]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log
            )
        pause = threading.Event()
        for _ in range(int(_START_S / 0.05)):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            pause.wait(0.05)
        self.kill()
        pytest.fail(f"the Chroma server over {self.folder} did not start")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        address = f"http://127.0.0.1:{self.port}/api/v2/heartbeat"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@pytest.fixture
def chroma_installed() -> None:
    """What tests that open folders of Chroma's need."""
    if importlib.util.find_spec("chromadb") is None:
        absent("the package `chromadb` is not installed: pip install 'lanpo[chroma]'")


def _program() -> str:
    """The program that comes with chromadb, of this environment first."""
    beside = Path(sys.executable).parent / "chroma"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("chroma")
    if found is None:
        absent("there is no program `chroma`; it comes with: pip install 'lanpo[chroma]'")
    return found


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A server for the whole session; who kills it starts it again."""
    server = ChromaServer(tmp_path_factory.mktemp("chroma") / "server")
    server.folder.mkdir()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def chroma_url(chroma_server: ChromaServer) -> str:
    """The address of a pool that nobody has used."""
    return chroma_server.url(f"pool-{uuid.uuid4().hex[:12]}")
