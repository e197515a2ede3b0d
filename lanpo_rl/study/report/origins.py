"""Where a study was made: versions and machine, and nothing that says whose machine it was."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["machine", "versions", "without_places"]

_PACKAGES = ("lanpo", "torch", "transformers", "trl", "accelerate", "numpy", "pydantic")
_FOLDERS = re.compile(r"(?<![\w./\\:])(?:/|~/|[A-Za-z]:[\\/])(?:[^\s/\\'\":,;()]+[\\/]+)+")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> str:
    """One line about the machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or sys.platform
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def without_places(text: str) -> str:
    """Return `text` without folders and without the name of this machine.

    Of a path its last part is left.

    >>> without_places("[Errno 28] No space left on device: '/home/me/runs/result.json'")
    "[Errno 28] No space left on device: '…/result.json'"
    """
    text = _FOLDERS.sub("…/", text)
    name = re.escape(socket.gethostname())
    return re.sub(rf"(?<![\w-]){name}(?![\w-])", "this machine", text) if name else text
