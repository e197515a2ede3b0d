"""Comparisons by math-verify, of what is small enough to be compared."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from lanpo_memory.errors import MissingExtraError
from lanpo_rl.rewards.answers import spelled_out, without_percent, without_unit

__all__ = ["DEEPEST", "LIMIT_S", "LONGEST", "Pair", "compared"]

Pair = tuple[str, str, bool]
"""Reference, answer, and whether the answer stood in a box."""

LIMIT_S = 3
"""Seconds for each of a comparison's steps: reading one side, comparing both."""
LONGEST = 500
"""Longest answer, in characters, that is read as mathematics; longer ones must be equal as text."""
DEEPEST = 30
"""Most brackets within brackets of such an answer: time doubles with each."""


def compared(pairs: Sequence[Pair]) -> list[bool]:
    """Whether each answer equals its reference. To be called on the main thread.

    Raises:
        MissingExtraError: math-verify is not installed.
    """
    try:
        import math_verify  # noqa: F401 - fails here, with a remedy
    except ImportError as error:
        raise MissingExtraError("math-verify", "rl") from error
    read = cache(_read)  # a reference is read once for its whole group
    return [_same(*pair, read) for pair in pairs]


def _same(gold: str, answer: str, boxed: bool, read: Callable[[str], list[Any]]) -> bool:
    one = without_unit(spelled_out(gold))
    if not boxed:
        with _alarm_kept():
            return _verified(read(_box(one)), read(answer))
    two = without_unit(spelled_out(answer, gold=gold))
    tries = [(one, two)]
    bare = without_percent(one), without_percent(two)
    if (bare[0] == one) != (bare[1] == two):  # one of them is said in percent
        tries.append(bare)
    with _alarm_kept():
        return any(a == b or _verified(read(_box(a)), read(_box(b))) for a, b in tries)


def _read(text: str) -> list[Any]:
    from math_verify import parse

    return list(parse(text, parsing_timeout=LIMIT_S))


def _verified(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify

    from lanpo_rl.rewards.sizes import too_large

    if any(too_large(side) for side in [*gold, *answer]):
        return False
    return bool(verify(gold, answer, allow_set_relation_comp=True, timeout_seconds=LIMIT_S))


def _box(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


@contextmanager
def _alarm_kept() -> Iterator[None]:
    """Put the user's own alarm back: math-verify sets one and takes it away."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    handler, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGALRM) is not handler:
            signal.signal(signal.SIGALRM, handler)
        if left:
            late = time.monotonic() - started
            signal.setitimer(signal.ITIMER_REAL, max(left - late, 1e-3), interval)
