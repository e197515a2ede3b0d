"""Records for tests. What sample number `n` holds is a function of `n` alone, in every process."""

from __future__ import annotations

from typing import Any

import pytest

from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
)

__all__ = [
    "KINDS",
    "NO_LIMITS",
    "ODD_TEXTS",
    "SHARED",
    "any_text",
    "attempt",
    "batch_of",
    "completions",
    "lesson",
    "problem",
]

KINDS: tuple[Any, ...] = ("experience", "attempt", "exposure", "failure")
"""Of records."""

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)
SIZE = 6  # problems in a batch

ODD_TEXTS = {
    "scripts and emoji": "Größe: 3 µm ≤ x < 5 µm — 数学の問題 🧮👩‍🔬, עברית",
    "LaTeX": r"Let $\frac{a}{b} = \sqrt[3]{x_{1}^{2}}$; then \[ \sum_{i=0}^{\infty} 2^{-i} = 2 \]",
    "quotes": '\'; DROP TABLE experience; --  "quoted" `tick` 100% %s {braces} $1 ?',
    "control characters": "line\nbreak\r\nreturn\ttab \x01 \x1b[0m \u2028 \ufeff",
    "two ways to write é": "e\u0301 and \u00e9: the same letter, written in two ways",
    "blanks around": " blanks around ",
    "JSON": '{"looks": ["like", "JSON"], "n": null}',
    "backslashes": "\\u0000 \\x00 \\\\ \\",
    "one megabyte": "x" * 1_000_000,
    "a megabyte of CJK": "数" * 300_000,
}
"""Texts that stores and parsers stumble over, by name."""

any_text = pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
"""For tests that take one `text`."""
completions = pytest.mark.parametrize(
    "text", ["", " ", *ODD_TEXTS.values()], ids=["empty", "blank", *ODD_TEXTS]
)
"""The same, for what may be empty, too."""


def problem(n: int) -> Problem:
    """Problem number `n`."""
    return Problem(text=f"problem {n}: add {n} and two", family="sums", metadata={"n": n})


def lesson(n: int, of: int = 0, step: int = 0) -> Experience:
    """Lesson number `n` about problem number `of`."""
    metadata = ExperienceMetadata(step=step, reward=n / 4, source="kit")
    return Experience(problem=problem(of), principles=(f"lesson {n}",), metadata=metadata)


def attempt(n: int, of: int = 0) -> Attempt:
    """Attempt number `n` at problem number `of`."""
    return Attempt(problem=problem(of), text=f"attempt {n}", policy="kit")


def batch_of(n: int) -> Batch:
    """New records of every kind: three experiences on each of six problems, and others."""
    return Batch(
        experiences=tuple(lesson(3 * n + i, of) for of in range(SIZE) for i in range(3)),
        attempts=tuple(attempt(n, of) for of in range(SIZE)),
        exposures=tuple(
            Exposure(problem_id=problem(of).id, lesson_ids=("l", "m"), step=n, guided=(1.0, 0.5))
            for of in range(3)
        ),
        failures=tuple(
            FailedAnswer(role="kit", problem_id=problem(of).id, text="?", reason="no", step=n)
            for of in range(3)
        ),
    )


SHARED = Batch(experiences=tuple(lesson(-1 - i, of) for of in range(SIZE) for i in range(3)))
"""What several writers write at the same time: it has to be there once."""
