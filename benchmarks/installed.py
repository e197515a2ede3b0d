"""What a package brings along: names, versions and bytes, read from the installed metadata."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def core_dependencies() -> list[str]:
    """What `pyproject.toml` asks for without any extra."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return [_name(line) for line in tomllib.load(file)["project"]["dependencies"]]


def closure(names: Iterable[str]) -> list[str]:
    """The distributions and all they need here, themselves included; missing ones are left out."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [_canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for line in needs:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(_canonical(need.name))
    return sorted(found)


def size_mb(names: Iterable[str]) -> float:
    """Size of all files of some distributions, compiled bytecode included, in MB of 10^6."""
    total = 0
    for name in names:
        for file in importlib.metadata.files(name) or []:
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e6


def of_checkout() -> dict[str, Any]:
    """`lanpo_memory` is not installed here: its files as they lie, and its dependencies."""
    names = closure(core_dependencies())
    own = sum(f.stat().st_size for f in (ROOT / "lanpo_memory").rglob("*") if f.is_file()) / 1e6
    return {"packages": len(names) + 1, "own_mb": own, "total_mb": own + size_mb(names)}


def of_package(name: str) -> dict[str, Any]:
    """One distribution, with everything it needs."""
    names = closure([name])
    if not names:
        return {"missing": True}
    return {
        "version": importlib.metadata.version(name),
        "packages": len(names),
        "own_mb": size_mb([name]),
        "total_mb": size_mb(names),
    }


def optional_roots(roots: Sequence[str]) -> list[str]:
    """Which imported top-level names do not belong to the core's own dependencies."""
    owners = importlib.metadata.packages_distributions()
    core = set(closure(core_dependencies()))
    return [r for r in roots if not core & {_canonical(owner) for owner in owners.get(r, [])}]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    report = {"lanpo": of_checkout(), **{name: of_package(name) for name in sys.argv[1:]}}
    print(json.dumps(report))
