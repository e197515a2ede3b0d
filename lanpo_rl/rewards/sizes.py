"""How large an expression gets once it is worked out, told without working it out.

Powers of powers and factorials grow past any memory: 9^{9^{9}} has 370 million digits.
"""

from __future__ import annotations

import math
from typing import Any

import sympy  # type: ignore[import-untyped]

__all__ = ["too_large"]

_MOST_DIGITS = 10_000.0
_GROWING = (sympy.factorial, sympy.binomial, sympy.Sum, sympy.Product)
_MOST_TERMS = 4  # digits of what these may be taken of


def too_large(expression: Any) -> bool:
    """Whether working it out makes a number of more than 10,000 digits, or as many terms.

    >>> nine = sympy.Integer(9)
    >>> too_large(nine**9), too_large(sympy.Pow(nine, sympy.Pow(nine, 9), evaluate=False))
    (False, True)
    """
    try:
        return _digits(expression) > _MOST_DIGITS
    except RecursionError:  # 5!!!!!!...
        return True


def _digits(expression: Any) -> float:
    """About how many digits the largest number in it has."""
    if isinstance(expression, sympy.Rational):
        bits: int = max(abs(expression.p), expression.q).bit_length()
        return bits * math.log10(2) + 1
    sizes = [_digits(part) for part in getattr(expression, "args", ())]
    if isinstance(expression, sympy.Pow) and expression.args[1].is_number:
        return max(*sizes, sizes[0] * _value(expression.args[1], sizes[1]))
    if isinstance(expression, _GROWING) and max(sizes) > _MOST_TERMS + 1:
        return math.inf
    return max(sizes, default=1.0)


def _value(exponent: Any, digits: float) -> float:
    if digits >= 300:
        return math.inf
    return float(abs(exponent)) if isinstance(exponent, sympy.Rational) else float(10.0**digits)
