"""The peers' own virtual environment, made when it is first needed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workers import ROOT, environment, scrub

HERE = Path(__file__).resolve().parent
FOLDER = HERE / ".venv-peers"
REQUIREMENTS = HERE / "peers.txt"
PEERS = ("bm25s", "chromadb", "mem0ai", "rank-bm25")


@dataclass(slots=True)
class Environment:
    """An interpreter, and why certain peers are not there; not `usable` without what ours needs."""

    python: Path
    usable: bool = True
    problems: dict[str, str] = field(default_factory=dict)


def prepare() -> Environment:
    """Return the environment; install what `peers.txt` lists if that has not been done.

    Where the list cannot be installed as a whole, each peer is tried alone; why one failed is kept
    with the environment. An environment with a failure is tried again the next time.
    """
    found = Environment(FOLDER / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    stamp = FOLDER / ".stamp"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return found
    print("peers: installing them into an environment of their own", flush=True)
    venv.create(FOLDER, clear=True, with_pip=True)
    if _install(found.python, "-r", str(REQUIREMENTS)) is not None:
        _install_one_by_one(found)
    if not found.problems:
        stamp.write_text(wanted)
    return found


def _install_one_by_one(found: Environment) -> None:
    pins = [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    peers = [pin for pin in pins if pin.split("==")[0] in PEERS]
    base = [pin for pin in pins if pin not in peers]
    problem = _install(found.python, *base)
    found.usable = problem is None
    for pin in peers:
        name = pin.split("==")[0]
        why = problem or _install(found.python, *base, pin)
        if why is not None:
            found.problems[name] = why


def _install(python: Path, *arguments: str) -> str | None:
    """Run pip; return what it complained about, or `None`."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return None
    errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
    return scrub(" ".join(errors)[:400] or f"pip ended with {run.returncode}")


def sizes(found: Environment) -> dict[str, Any]:
    """Installed size of ours and of each peer, with everything they need."""
    run = subprocess.run(
        [str(found.python), "-m", "benchmarks.installed", *PEERS],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )
    report: dict[str, Any] = json.loads(run.stdout)
    return report
