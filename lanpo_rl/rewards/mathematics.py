"""Comparisons by math-verify, of what is small enough to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from lanpo_memory.errors import MissingExtraError
from lanpo_rl.rewards.answers import spelled_out, without_percent, without_unit
from lanpo_rl.rewards.bounds import bounded

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
        from math_verify import grader, parser
    except ImportError as error:
        raise MissingExtraError("math-verify", "rl") from error
    # They would say once that their time-outs are off: there are ours.
    parser.TIMEOUT_WARNING_SHOWN = grader.TIMEOUT_WARNING_SHOWN = True
    read = cache(_read)  # a reference is read once for its whole group
    return [_same(*pair, read) for pair in pairs]


def _same(gold: str, answer: str, boxed: bool, read: Callable[[str], list[Any]]) -> bool:
    one = without_unit(spelled_out(gold))
    if not boxed:
        return _verified(read(_box(one)), read(answer))
    two = without_unit(spelled_out(answer, gold=gold))
    tries = [(one, two)]
    bare = without_percent(one), without_percent(two)
    if (bare[0] == one) != (bare[1] == two):  # one of them is said in percent
        tries.append(bare)
    return any(a == b or _verified(read(_box(a)), read(_box(b))) for a, b in tries)


def _read(text: str) -> list[Any]:
    from math_verify import parse

    return bounded(LIMIT_S, lambda own: list(parse(text, parsing_timeout=own)), otherwise=[])


def _verified(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify

    from lanpo_rl.rewards.sizes import too_large

    if any(too_large(side) for side in [*gold, *answer]):
        return False
    compare = partial(verify, gold, answer, allow_set_relation_comp=True)
    return bounded(LIMIT_S, lambda own: bool(compare(timeout_seconds=own)), otherwise=False)


def _box(answer: str) -> str:
    return f"\\boxed{{{answer}}}"
