"""What an import costs in a fresh process, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.installed import optional_roots
from benchmarks.measure import summary
from benchmarks.settings import Settings
from benchmarks.workers import ROOT, WorkerError, environment, scrub

OURS = "lanpo_memory"
PROBE = """
import sys, time
from benchmarks.memory import memory_mb
known, before = set(sys.modules), memory_mb()
started = time.perf_counter()
import {module}
ms = 1000 * (time.perf_counter() - started)
after = memory_mb()
new = {{name.partition(".")[0] for name in set(sys.modules) - known}}
import json
def installed(name):
    module = sys.modules.get(name)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]
    return any("-packages" in place for place in places)
third = sorted(name for name in new - {{"{module}"}} if installed(name))
print(json.dumps(dict(ms=ms, before=before["now"], now=after["now"], peak=after["peak"],
                      modules=len(sys.modules) - len(known), third=third)))
"""


def run(settings: Settings) -> dict[str, Any]:
    """Time, memory and loaded packages of `import lanpo_memory`."""
    found = measure([OURS], settings.imports)[OURS]
    print(
        f"imports: {found['ms']['p50']:.0f} ms, peak {found['peak_mb']['p50']:.0f} MB", flush=True
    )
    return {**found, "optional": optional_roots(found["loaded"])}


def measure(
    modules: Sequence[str], repeats: int, python: str | Path = sys.executable
) -> dict[str, dict[str, Any]]:
    """Import each module in fresh processes, the modules in turns.

    The first round compiles bytecode and fills the page cache; it is not counted.
    """
    probes: dict[str, list[dict[str, Any]]] = {module: [] for module in modules}
    for turn in range(repeats + 1):
        for module, seen in probes.items():
            probe = _probe(module, python)
            if turn:
                seen.append(probe)
    return {module: _of(seen) for module, seen in probes.items()}


def _of(probes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ms": summary([p["ms"] for p in probes]),
        "added_mb": summary([p["now"] - p["before"] for p in probes]),
        "peak_mb": summary([p["peak"] for p in probes]),
        "modules": probes[-1]["modules"],
        "loaded": probes[-1]["third"],
    }


def _probe(module: str, python: str | Path) -> dict[str, Any]:
    command = [str(python), "-c", PROBE.format(module=module)]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment()
    )
    if run.returncode:
        raise WorkerError(scrub(f"import {module}: {run.stderr.strip()[-300:]}"))
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
