"""What we set out to reach, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENTRIES = 1_000_000
DOCUMENTS = 100_000
Results = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure of a suite; `at_most` or `at_least`, never both.

    Args:
        text: what is bounded.
        suite: the suite it is read from.
        read: the figure, from a row of the size the target speaks of or from the suite.
        unit: of the figure.
    """

    text: str
    suite: str
    read: Callable[[Row], float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> str:
        sign, value = ("≤", self.at_most) if self.at_least is None else ("≥", self.at_least)
        return f"{sign} {value:,g} {self.unit}".rstrip()

    def met(self, value: float) -> bool:
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a target; no `value` where it was not measured."""

    target: Target
    value: float | None
    size: int | None
    met: bool | None


def _ratio(row: Row, figure: str, other: str) -> float:
    """How many times as long the other takes, by medians of the same turns."""
    return float(row[figure][other]["p50"] / row[figure]["lanpo_bm25"]["p50"])


def _slower(row: Row, other: str) -> float:
    """The smaller of the ratios of raw and of split queries."""
    return min(_ratio(row, figure, other) for figure in ("raw_ms", "split_ms"))


def _score_difference(row: Row) -> float:
    return max(float(row["scores"][name]) for name in ("same_documents", "best_scores"))


TARGETS = (
    Target("one query, p50", "pool", lambda r: r["query_ms"]["p50"], "ms", at_most=2),
    Target("one query, p95", "pool", lambda r: r["query_ms"]["p95"], "ms", at_most=6),
    Target("512 problems in one call", "pool", lambda r: r["batch_ms"]["p50"], "ms", at_most=600),
    Target(
        "add 4,096 with eviction, durably", "pool", lambda r: r["add_ms"]["p50"], "ms", at_most=250
    ),
    Target("open", "pool", lambda r: r["open_ms"]["p50"], "ms", at_most=2_000),
    Target(
        "peak RSS, open and 200 queries",
        "pool",
        lambda r: r["serving_mb"]["peak"],
        "MB",
        at_most=500,
    ),
    Target(
        "BM25 query, times faster than rank_bm25",
        "bm25",
        lambda r: _slower(r, "rank_bm25"),
        "×",
        at_least=100,
    ),
    Target(
        "BM25 query, times faster than bm25s (numpy)",
        "bm25",
        lambda r: _slower(r, "bm25s"),
        "×",
        at_least=1,
    ),
    Target(
        "add 256 and query, times faster than bm25s rebuilt",
        "bm25",
        lambda r: _ratio(r, "add_and_query_ms", "bm25s"),
        "×",
        at_least=100,
    ),
    Target("scores, greatest relative difference from bm25s", "bm25", _score_difference, "", 1e-5),
    Target("import, median", "imports", lambda r: r["ms"]["p50"], "ms", at_most=250),
    Target("import, peak RSS of the process", "imports", lambda r: r["peak_mb"]["p50"], "MB", 60),
    Target("optional packages imported", "imports", lambda r: len(r["optional"]), "", at_most=0),
)

WANTED = {"pool": ("entries", ENTRIES), "bm25": ("documents", DOCUMENTS)}
"""The size a suite's targets speak of, and the name of the field that holds it."""


def verdicts(suites: Results) -> list[Verdict]:
    """Judge each target; one whose size was not measured shows the largest that was.

    A quick run is not judged at all.
    """
    return [_judge(target, suites.get(target.suite)) for target in TARGETS]


def _judge(target: Target, suite: Results | None) -> Verdict:
    if suite is None or "error" in suite:
        return Verdict(target, None, None, None)
    if target.suite not in WANTED:
        value = target.read(suite)
        return Verdict(target, value, None, None if suite["quick"] else target.met(value))
    field, size = WANTED[target.suite]
    row = _largest(suite["rows"], field, size)
    value = target.read(row)
    judged = row[field] == size and not suite["quick"]
    return Verdict(target, value, row[field], target.met(value) if judged else None)


def _largest(rows: Sequence[Row], field: str, size: int) -> Row:
    """The row of this size, else the largest."""
    exact = [row for row in rows if row[field] == size]
    return exact[0] if exact else max(rows, key=lambda row: row[field])
