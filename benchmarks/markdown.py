"""Tables and figures in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    marks = [":--"] + ["--:"] * (len(header) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (header, marks, *rows)]


def figure(value: float | None) -> str:
    """Three significant digits, counts in full; thousands with commas."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 9.995 else 1}f}"


def pair(summary: Row | None) -> str:
    """Median and 95th percentile."""
    return "–" if summary is None else f"{figure(summary['p50'])} / {figure(summary['p95'])}"
