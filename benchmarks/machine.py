"""Where and with what something was measured."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import timed
from benchmarks.workers import ROOT, THREADS, isolation

PACKAGES = ("numpy", "pydantic", "rank-bm25", "bm25s", "scipy", "numba")


def describe(work: Path) -> dict[str, Any]:
    """Hardware, versions and date; `work` is on the disk that is written to."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": _cores(),
        "ram_gb": round(_ram_bytes() / 1e9, 1),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": _file_system(work),
        "fsync_ms": _fsync_ms(work),
        "network": "no interface" if isolation() else "Python sockets blocked",
        "threads": THREADS,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "packages": versions(PACKAGES),
        "revision": _revision(),
    }


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Installed versions, `None` where a package is not there."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _output(*command: str) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except FileNotFoundError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE)
        if names:
            return str(names[0])
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or "unknown"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _file_system(folder: Path) -> str:
    """The type of the file system, e.g. ext4: a durable write to tmpfs would cost nothing."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return _output("stat", "-f", "%T", str(folder)) or "unknown file system"
    kinds = {Path(line.split()[1]): line.split()[2] for line in mounts.read_text().splitlines()}
    above = [place for place in kinds if folder.resolve().is_relative_to(place)]
    return kinds[max(above, key=lambda place: len(place.parts))]


def _fsync_ms(folder: Path) -> float:
    """Median time to write 4 kB and have the disk confirm it."""
    with tempfile.TemporaryFile(dir=folder) as file:

        def write() -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        return round(statistics.median(timed(write) for _ in range(50)), 3)


def _revision() -> str:
    return _output("git", "describe", "--always", "--dirty", "--abbrev=10") or "unknown"
