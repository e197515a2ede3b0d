r"""The tiny policy's language: every token it knows, and how its few kinds of text look.

::

    solve      bako bako bako 8_6                       -> C09+14=\boxed{23}
    inter      hint bako C09|bako bako bako 8_6         -> C09+14=\boxed{23}
    summarise  sum bako bako bako 8_6|C09+14=\boxed{23} -> bako C09
    intra      check +3:8*7:6\boxed{6}|4+3*7            -> +3:7?*7:9?\boxed{9}
"""

from __future__ import annotations

import re

__all__ = [
    "BOX",
    "CONSTANTS",
    "NAMES",
    "OPERATORS",
    "SPECIAL_TOKENS",
    "VOCABULARY",
    "boxed_answer",
    "strip_marks",
]

BOX = r"\boxed{"

_NAMES = """
    bako bele binu boto buku dasu deri diva dope dumu faka feve fimi fosi fuku gapo
    gere gilo gozi gumo kafe keti kipa kori kuzo lazo lene litu lufa mare mezo mifo
    mola muga nazu nitu nuge paga pibi ponu puzo rava remo rilu rufi saku sedu silu
    soga suto tase tese tima tola turu vafe vilu vole vuge zavu zefa zire zote zudo
"""
NAMES: tuple[str, ...] = tuple(_NAMES.split())
"""Family names. No two share a first syllable, and each is one token."""

CONSTANTS = 16
"""A hidden constant is one of 0 to 15, written C00 to C15."""

OPERATORS: tuple[str, ...] = (
    *("+2", "+3", "+4", "+6", "+7", "+8"),
    *("-1", "-4", "-5"),
    *("*3", "*7", "*9"),
)
"""Operators on a digit, modulo 10. Each is a bijection: no step can hide an earlier mistake."""

SPECIAL_TOKENS = {"pad": "<pad>", "eos": "<e>", "unk": "<unk>", "user": "<u>", "assistant": "<a>"}

VOCABULARY: tuple[str, ...] = (
    *SPECIAL_TOKENS.values(),
    *("hint", "sum", "check", BOX, "}", " ", "|", "+", "=", "?", ":", "_", "C"),
    *"0123456789",
    *OPERATORS,
    *NAMES,
)

# A mark stands behind a written step (":7") or a named constant ("C09"); "14=" is none.
_MARK = re.compile(r"(:\d|C\d\d)[=?]")


def boxed_answer(text: str) -> str | None:
    r"""Return what the last closed box holds, or `None` if there is none.

    >>> boxed_answer(r"C09+14=\boxed{23}")
    '23'
    """
    _, found, rest = text.rpartition(BOX)
    answer, closed, _ = rest.partition("}")
    return answer if found and closed else None


def strip_marks(text: str) -> str:
    r"""Return a checked text without its check marks: what the check arrived at, in bare format.

    >>> strip_marks(r"+3:7=*7:9?\boxed{9}")
    '+3:7*7:9\\boxed{9}'
    """
    return _MARK.sub(r"\1", text)
