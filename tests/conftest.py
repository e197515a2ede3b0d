"""What holds for every test: no network, no home folder, one thread.

The environment is set before any test module is imported, because libraries read it on import.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class NetworkBlockedError(RuntimeError):
    """A test tried to leave this machine."""


# At import, not in a hook: a conftest deeper down may import a library before any hook runs.
_FOLDER = tempfile.TemporaryDirectory(prefix="lanpo-tests-", ignore_cleanup_errors=True)
_HOME = Path(_FOLDER.name)
os.environ |= {
    "HOME": str(_HOME),
    "XDG_CACHE_HOME": str(_HOME / "cache"),
    "XDG_CONFIG_HOME": str(_HOME / "config"),
    "HF_HOME": str(_HOME / "huggingface"),
    "MPLCONFIGDIR": str(_HOME / "matplotlib"),
    "MPLBACKEND": "agg",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}
# A shell script ignores Ctrl-C for what it runs in the background; tests send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    _FOLDER.cleanup()


def _is_local(host: object) -> bool:
    if isinstance(host, bytes | bytearray):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(host: object) -> None:
    if not _is_local(host):
        raise NetworkBlockedError(
            f"a test tried to reach {host!r}; tests may talk to this machine only. "
            "Use a fake from lanpo_memory.testing."
        )


def _guarded(original: Any) -> Any:
    """Wrap a socket method whose last positional argument is an address."""

    def call(self: socket.socket, *args: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(args[-1], tuple):
            _refuse(args[-1][0])
        return original(self, *args)

    return call


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse every connection and every name look-up that is not loopback."""
    lookup = socket.getaddrinfo

    def guarded_lookup(host: object, *args: Any, **kwargs: Any) -> Any:
        _refuse(host)
        return lookup(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Keep torch on one thread: faster for small kernels, and exact. Never imports it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
