"""A bound on math-verify's time that holds wherever the signal meets it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

__all__ = ["bounded"]

T = TypeVar("T")

_AGAIN_S = 0.02
_WORKING = ("math_verify", "latex2sympy2_extended", "sympy", "mpmath", "antlr4")


def bounded(limit_s: float, work: Callable[[float | None], T], *, otherwise: T) -> T:
    """What math-verify's `work` returns, or `otherwise` if it takes longer than `limit_s` seconds.

    To be called on the main thread. `work` is handed what to pass to math-verify as its own
    time-out: nothing where there are signals. Its alarm rings once, and is lost if it rings in a
    callback of the garbage collector or other code whose exceptions nobody sees. This one rings
    until it is heard.

    A SIGALRM handler and a timer of yours are put back, the timer as late as this took.
    """
    if not hasattr(signal, "SIGALRM"):
        return work(limit_s)
    from math_verify.errors import TimeoutException

    handler, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s, _AGAIN_S)
    try:
        return work(None)
    except TimeoutException:  # mostly math-verify catches it itself
        return otherwise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:
            late = time.monotonic() - started
            signal.setitimer(signal.ITIMER_REAL, max(left - late, 1e-3), interval)


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise in the code that works; anything else is left to finish, for the alarm rings again."""
    from math_verify.errors import TimeoutException

    module = frame.f_globals.get("__name__", "") if frame else ""
    if module.partition(".")[0] in _WORKING:
        raise TimeoutException("Operation timed out!")
