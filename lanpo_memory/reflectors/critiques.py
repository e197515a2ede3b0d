"""Critiques that were asked for once, kept in the pool's file.

A critique is found again by the texts of problem and attempt alone. Neither the model nor the
wording of the question is part of the key: what is known when a critique is to be stored is the
`Guidance` it came with, after it has travelled through a trainer, and that names neither. To have
attempts criticised anew, give the reflector no store: what is stored then is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.types import Attempt, Guidance, Promise, fingerprint

__all__ = ["critique_entry", "critique_key", "stored_critiques"]


def critique_key(attempt: Attempt) -> str:
    """Return the key of an attempt's critique: the same text at another step has the same."""
    return f"critique:{fingerprint(attempt.problem.text, attempt.text)}"


def critique_entry(guidance: Guidance) -> tuple[str, bytes] | None:
    """Return what `ExperienceStore.cache` takes; `None` for guidance without a critique.

    >>> from lanpo_memory.types import Problem
    >>> attempt = Attempt(problem=Problem(text="2 + 3?"), text="6")
    >>> guidance = Guidance(kind="intra", attempt=attempt, critique="Count again.")
    >>> critique_entry(guidance) == (critique_key(attempt), b"Count again.")
    True
    >>> critique_entry(Guidance(kind="intra", attempt=attempt)) is None
    True
    """
    if guidance.attempt is None or not guidance.critique:
        return None
    return critique_key(guidance.attempt), guidance.critique.encode()


def stored_critiques(store: ExperienceStore | None, attempts: Sequence[Attempt]) -> list[str]:
    """Return the stored critique of each attempt, empty where there is none.

    A store that does not promise to keep a cache has none.
    """
    if store is None or Promise.CACHE not in store.promises:
        return [""] * len(attempts)
    found = store.cached([critique_key(attempt) for attempt in attempts])
    return ["" if value is None else value.decode("utf-8", "replace") for value in found]
