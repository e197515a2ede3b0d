"""RESULTS.md from results.json: every figure and every verdict in it is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import Row, figure, table
from benchmarks.tables import WRITERS
from benchmarks.targets import WANTED, Verdict, verdicts

INTRO = """# Benchmark results

Written by `make bench`; do not edit. The same figures for machines: `results.json`.

- Texts are made up (80 words, the word frequencies of a language, a vocabulary of 20,000; queries
  of 39 words), the same on every machine. Embeddings are precomputed, so no model's time is in any
  figure. See `corpus.py`.
- Every system runs in a process of its own, single-threaded and cut off from the network. The
  clock runs inside that process. Systems that are compared are asked in turns, block by block.
- p50 is the median, p95 the 95th percentile. One query means one problem in one call. MB are
  10^6 bytes. Files are in the page cache when they are opened.
"""


def render(results: Mapping[str, Any]) -> str:
    """The whole of RESULTS.md."""
    suites = results["suites"]
    lines = [INTRO, "## Targets", "", *_targets(verdicts(suites)), ""]
    for name, suite in suites.items():
        lines += [f"## {name}", "", _measured(suite), ""]
        if "error" in suite:
            lines += [f"This suite failed: {suite['error']}", ""]
        else:
            lines += [*WRITERS[name](suite), ""]
    return "\n".join(lines).rstrip() + "\n"


def _targets(found: Sequence[Verdict]) -> list[str]:
    sizes = {suite: f"{size:,} {field}" for suite, (field, size) in WANTED.items()}
    rows = [
        (
            verdict.target.text,
            sizes.get(verdict.target.suite, "–"),
            verdict.target.bound,
            _value(verdict),
            {True: "yes", False: "**no**", None: "not judged"}[verdict.met],
        )
        for verdict in found
    ]
    return table(("target", "at", "bound", "measured", "met"), rows)


def _value(verdict: Verdict) -> str:
    if verdict.value is None:
        return "not measured"
    value = f"{figure(verdict.value)} {verdict.target.unit}".rstrip()
    if verdict.met is None and verdict.size is not None:
        return f"{value} at {verdict.size:,}"
    return value


def _measured(suite: Row) -> str:
    m = suite["machine"]
    packages = ", ".join(f"{n} {v}" for n, v in m["packages"].items() if v is not None)
    absent = [name for name, version in m["packages"].items() if version is None]
    load = ", ".join(map(str, m["load_average"]))
    return (
        f"Measured {m['date']} in {suite['seconds']:,.0f} s at revision {m['revision']}"
        f"{' with --quick: the figures mean nothing' if suite['quick'] else ''}.  \n"
        f"{m['cpu']}, {m['cores']} cores, {m['ram_gb']} GB RAM, {m['system']}; {m['file_system']}, "
        f"4 kB with fsync {figure(m['fsync_ms'])} ms; load average at the start {load}; network: "
        f"{m['network']}.  \n"
        f"{m['python']}, SQLite {m['sqlite']}, {packages}"
        f"{'; not installed: ' + ', '.join(absent) if absent else ''}."
    )
