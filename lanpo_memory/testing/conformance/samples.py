"""Records for tests. What sample number `n` holds is a function of `n` alone, in every process."""

from __future__ import annotations

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

__all__ = ["NO_LIMITS", "ODD_TEXTS", "SHARED", "attempt", "batch_of", "lesson", "problem"]

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)
SIZE = 6  # problems in a batch
RECORDS = 4 * SIZE + 6  # of all kinds in `batch_of`

ODD_TEXTS = (
    "Größe: 3 µm ≤ x < 5 µm — 数学の問題 🧮👩‍🔬, עברית",
    r"Let $\frac{a}{b} = \sqrt[3]{x_{1}^{2}}$; then \[ \sum_{i=0}^{\infty} 2^{-i} = 2 \]",
    '\'; DROP TABLE experience; --  "quoted" `tick` 100% %s {braces} $1 ?',
    "line\nbreak\r\nreturn\ttab \x01 \x1b[0m \u2028 \ufeff",
    "e\u0301 and \u00e9: the same letter, written in two ways",
    " blanks around ",
    '{"looks": ["like", "JSON"], "n": null}',
    "\\u0000 \\x00 \\\\ \\",
    "x" * 1_000_000,
    "数" * 300_000,
)
"""Texts that stores and parsers stumble over."""


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
