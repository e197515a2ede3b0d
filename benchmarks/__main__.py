"""Measure, and write RESULTS.md and results.json: `make bench`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bm25, imports, peers, pool
from benchmarks.machine import describe
from benchmarks.report import render
from benchmarks.settings import SUITES, Settings, quick
from benchmarks.targets import verdicts
from benchmarks.workers import ROOT, scrub

RUN: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "pool": pool.run,
    "bm25": bm25.run,
    "imports": imports.run,
    "peers": peers.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites; return 1 if one failed."""
    given = _parser().parse_args(arguments)
    # `make bench` without arguments is what the published figures come from.
    out = given.out or ROOT / ("build/bench-quick" if given.quick else "benchmarks")
    work = given.work or ROOT / "build" / "bench"
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(given, work)
    results = _kept(out / "results.json", given)
    failed = False
    for name in _chosen(given):
        results["suites"][name] = suite = _measured(name, settings, given.quick)
        failed |= "error" in suite
        results["suites"] = {n: results["suites"][n] for n in SUITES if n in results["suites"]}
        _write(out, results)
    print(f"wrote RESULTS.md and results.json to {scrub(str(out))}")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds; the figures mean nothing")
    parser.add_argument("--only", type=_names, default=SUITES, help=f"of {','.join(SUITES)}")
    parser.add_argument("--no-peers", action="store_true", help="leave out what needs an index")
    parser.add_argument(
        "--sizes", type=_sizes, help="e.g. 1000,100000: for each suite chosen that has sizes"
    )
    parser.add_argument("--out", type=Path, help="folder for both files")
    parser.add_argument("--work", type=Path, help="folder for pools: its disk is what is measured")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(SUITES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(size.replace("_", "")) for size in text.split(",")))


def _chosen(given: argparse.Namespace) -> list[str]:
    return [n for n in SUITES if n in given.only and not (n == "peers" and given.no_peers)]


def _settings(given: argparse.Namespace, work: Path) -> Settings:
    settings = quick(work) if given.quick else Settings(work)
    if given.sizes is None:
        return settings
    names = ("pool_sizes", "bm25_sizes", "peer_sizes", "mem0_sizes")
    return dataclasses.replace(settings, **dict.fromkeys(names, given.sizes))


def _kept(path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """With --only, the suites measured earlier stay; each carries its own date and machine."""
    if path.exists() and _chosen(given) != list(SUITES):
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    return {"format": 1, "suites": {}}


def _measured(name: str, settings: Settings, is_quick: bool) -> dict[str, Any]:
    """One suite with its circumstances; what went wrong is its result, and the rest goes on."""
    suite: dict[str, Any] = {"machine": describe(settings.work), "quick": is_quick}
    used = {k: v for k, v in dataclasses.asdict(settings).items() if k != "work"}
    started = time.perf_counter()
    try:
        found = RUN[name](settings)
    except Exception as error:  # noqa: BLE001  the report names it and the exit status tells
        traceback.print_exc()
        found = {"error": scrub(f"{type(error).__name__}: {error}")}
    return {**suite, "settings": used, "seconds": time.perf_counter() - started, **found}


def _write(out: Path, results: dict[str, Any]) -> None:
    suites = results["suites"]
    results["targets"] = [
        {"target": v.target.text, "bound": v.target.bound, "measured": v.value, "met": v.met}
        for v in verdicts(suites)
    ]
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    (out / "RESULTS.md").write_text(render(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
