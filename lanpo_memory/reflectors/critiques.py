"""Critiques of attempts, kept so that no attempt is asked about twice."""

from __future__ import annotations

from lanpo_memory.types import Guidance

__all__ = ["critique_entry"]


def critique_entry(guidance: Guidance) -> tuple[str, bytes] | None:
    """Return under which key a guidance's critique is kept, and as what; `None` without one."""
    if guidance.attempt is None or not guidance.critique:
        return None
    return f"critique:{guidance.attempt.id}", guidance.critique.encode()
