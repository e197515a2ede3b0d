"""What the tests of several backends share: what to do where a server cannot be had."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest

__all__ = ["absent", "free_port"]


def absent(reason: str) -> NoReturn:
    """Skip, with the reason; with LANPO_SERVERS=required, as in continuous integration, fail."""
    if os.environ.get("LANPO_SERVERS") == "required":
        pytest.fail(f"{reason}; here every server has to be there")
    pytest.skip(reason)


def free_port() -> int:
    """A port of this machine that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
