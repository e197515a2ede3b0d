"""Comparisons by math-verify, of what is small enough to be compared."""

from __future__ import annotations

import math
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
_MOST_DIGITS = 10_000.0  # of a number that is worked out


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

    if any(_too_large(side) for side in [*gold, *answer]):
        return False
    return bool(verify(gold, answer, allow_set_relation_comp=True, timeout_seconds=LIMIT_S))


def _too_large(expression: Any) -> bool:
    try:
        return _digits(expression) > _MOST_DIGITS
    except RecursionError:  # 5!!!!!!...
        return True


def _box(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def _digits(expression: Any) -> float:
    """About how many digits the largest number in it has once it is worked out; never worked out.

    Powers of powers and factorials grow past any memory: 9^{9^{9}} has 370 million digits.
    """
    import sympy

    if isinstance(expression, sympy.Rational):
        return max(len(str(n)) for n in (expression.p, expression.q)) if _short(expression) else 5e3
    sizes = [_digits(part) for part in getattr(expression, "args", ())]
    if isinstance(expression, sympy.Pow) and expression.args[1].is_number:
        return max(*sizes, sizes[0] * _value(expression.args[1], sizes[1]))
    if isinstance(expression, sympy.factorial | sympy.binomial | sympy.Sum | sympy.Product):
        return max(*sizes, math.inf if max(sizes) > 4 else 0.0)
    return max(sizes, default=1.0)


def _short(number: Any) -> bool:
    return max(abs(number.p), number.q).bit_length() < 10_000


def _value(exponent: Any, digits: float) -> float:
    import sympy

    if isinstance(exponent, sympy.Rational):
        return float(abs(exponent)) if digits < 300 else math.inf
    return 10.0**digits if digits < 300 else math.inf


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
