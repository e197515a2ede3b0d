"""Clocks, quantiles, growth and sizes. Standard library and numpy only: every process uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar

import numpy as np

Summary = dict[str, float]
Question = TypeVar("Question")


class Answers(TypedDict):
    """Milliseconds and number of hits, question by question."""

    ms: list[float]
    found: list[int]


def timed(call: Callable[..., object], *arguments: object) -> float:
    """Milliseconds that a call took."""
    started = time.perf_counter()
    call(*arguments)
    return 1000 * (time.perf_counter() - started)


def asked(ask: Callable[[Question], int], questions: Iterable[Question]) -> Answers:
    """Ask one question after the other: how long each took, and how much it found."""
    ms, found = [], []
    for question in questions:
        started = time.perf_counter()
        hits = ask(question)
        ms.append(1000 * (time.perf_counter() - started))
        found.append(hits)
    return {"ms": ms, "found": found}


def summary(samples: Iterable[float]) -> Summary:
    """Number, median, 95th percentile, least and greatest of some samples."""
    values = np.array(list(samples), dtype=np.float64)
    p50, p95 = np.percentile(values, [50, 95])
    return {
        "n": len(values),
        "p50": float(p50),
        "p95": float(p95),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The b of value = a · size^b, by least squares of the logarithms; 1 is linear growth."""
    points = [(s, v) for s, v in zip(sizes, values, strict=True) if s > 0 and v > 0]
    if len({s for s, _ in points}) < 2:
        return None
    logs = np.log(np.array(points))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def folder_mb(folder: Path) -> float:
    """Size of all files below a folder, in MB of 10^6 bytes."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
