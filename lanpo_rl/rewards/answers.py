r"""Final answers as text: where a completion says its own, and what two spellings have in common.

What can be told from the text alone is told here: words, letters of a choice, equal spellings.
Mathematics is left to math-verify, in a spelling that it reads.
"""

from __future__ import annotations

import re

from lanpo_memory.parsing import boxed_answer
from lanpo_memory.texts import storable

__all__ = ["final_answer", "same_text", "spelled_out", "without_percent", "without_unit"]

_TAIL = 500  # characters of an unboxed completion in which its answer is looked for
_OPENED = re.compile(r"\\f?boxed\s*\{")
_STATED = re.compile(r"\banswer\s*(?:is\b|:)[\s:*]*([^\n]+?)[\s*]*$", re.IGNORECASE | re.MULTILINE)

_MATH_MARKS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])")
_BLANKS = re.compile(r"(?<!\\)\\[,;:! ]|~|\\q?quad(?![a-z])")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\\[,!;: ]|\{,\}| )\d{3})+(?!\d)")
_MIXED = re.compile(r"(?<![\d./^])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])")
_POWER_OF_TEN = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|tt|sf)?|math(?:rm|bf|it|sf)|mbox|emph)\s*\{([^{}]*)\}")

_INTEGER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s'-]+[^\W\d_]+)*|[^\W\d_]+[\s'-]+[^\W\d_]{2,}")
_CHOICE = re.compile(r"\(?([A-J])\)?[.:]?")
_LABELLED = re.compile(r"(?:\(([A-J])\)|([A-J])[.:)](?=\s))\s*(\S.*)", re.DOTALL)

_NAMED = re.compile(r"([-+]?)\s*(infinity|∞|pi|π)", re.IGNORECASE)
_NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+|\\[dt]?frac\{\d+\}\{\d+\})(?:\s*/\s*\d+)?"
_UNIT = r"(?:[a-zA-Zµ°Ω]{2,}|[mgshlLNJWVKCF])(?:\^\{?\d\}?|[²³])?"
_QUANTITY = re.compile(rf"({_NUMBER})\s+({_UNIT}(?:\s*(?:/|\s)\s*{_UNIT})*)")
_CURRENCY = re.compile(rf"([-+]?)(?:\\?\$|€|£|¥)\s*({_NUMBER})")
_NO_UNITS = re.compile(
    r"\b(?:and|[bm]illion|dozen|hundred|into|minus|mod|or|percent|pct|plus|sqrt|thousand|times|to|pi)\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*(?:\\?%|percent|pct)$", re.IGNORECASE)


def final_answer(text: str) -> tuple[str, bool]:
    r"""A completion's answer, and whether it stands in a box.

    Of several boxes the last one that is closed and not empty counts. A completion whose only
    boxes are empty or cut off answers nothing. Without any box it is the end of the text, where
    math-verify looks for a number or a formula.

    >>> final_answer(r"\boxed{4}, no: \boxed{5}"), final_answer(r"5, so \boxed{")
    (('5', True), ('', True))
    """
    text = storable(text).replace(r"\fbox{", r"\boxed{")
    boxed = boxed_answer(text)
    if boxed is None and not _OPENED.search(text):
        return text[-_TAIL:], False
    return boxed or "", True


def same_text(gold: str, answer: str, *, boxed: bool = True) -> bool | None:
    """Whether two answers are the same, as far as their text tells; `None` if it does not.

    Words are compared as words, in any case; mathematics would take "no" and "on" for the same
    product. A letter of a choice (A to J) is compared with the letter that is named.
    """
    if not boxed:
        return _stated(gold, answer)
    one, two = _plain(gold), _plain(answer)
    if not one or not two:
        return False
    if one.casefold() == two.casefold():
        return True
    if _INTEGER.fullmatch(one) and _INTEGER.fullmatch(two):
        return _digits(one) == _digits(two)  # what most answers are, a hundred times as fast
    if chosen := _CHOICE.fullmatch(one):
        return chosen[1] == _letter(_unwrapped(_cleaned(answer)))
    if _WORDS.fullmatch(one) and (len(one) > 3 or _WORDS.fullmatch(two)):
        return False  # but "ab" may be a product, as in a \cdot b
    if {_brackets(one), _brackets(two)} in ({"{", "("}, {"{", "["}, {"(", "["}):
        return False
    return None


def _stated(gold: str, tail: str) -> bool | None:
    """An unboxed word or letter has to be called the answer."""
    plain = _plain(gold)
    if not (_WORDS.fullmatch(plain) or _CHOICE.fullmatch(plain)):
        return None
    stated = _STATED.findall(tail)
    return bool(stated) and bool(same_text(gold, stated[-1]))


def spelled_out(answer: str, *, gold: str = "") -> str:
    """The answer in a spelling that math-verify reads, without a choice's letter before it."""
    answer = _cleaned(answer)
    if (labelled := _LABELLED.fullmatch(_unwrapped(answer))) and not _CHOICE.fullmatch(gold):
        answer = labelled[3]
    if power := _POWER_OF_TEN.fullmatch(answer):
        return rf"{power[1]} \times 10^{{{power[2]}}}"
    return _MIXED.sub(r"\1\\frac{\2}{\3}", answer)


def without_unit(answer: str) -> str:
    """The number alone, where a unit or a currency stands with it."""
    plain = _unwrapped(answer).strip()
    if currency := _CURRENCY.fullmatch(plain):
        return currency[1] + currency[2]
    quantity = _QUANTITY.fullmatch(plain)
    if quantity and not _NO_UNITS.search(quantity[2]):
        return quantity[1]
    return answer


def without_percent(answer: str) -> str:
    """The number alone, where it is a percentage."""
    return _PERCENT.sub("", answer)


def _cleaned(answer: str) -> str:
    """Without marks of mathematics around it, sizes of brackets, and separators of thousands."""
    answer = storable(answer).strip()
    for left, right in _MATH_MARKS:
        inner = answer[len(left) : -len(right)]
        if answer.startswith(left) and answer.endswith(right) and left not in inner and inner:
            answer = inner.strip()
    answer = _GROUPS.sub(lambda found: re.sub(r"\D", "", found[0]), _SIZES.sub("", answer))
    answer = answer.replace(r"\varnothing", r"\emptyset")
    answer = _BLANKS.sub(" ", answer).strip().removesuffix(".").strip()
    if named := _NAMED.fullmatch(answer):
        return named[1] + (r"\pi" if named[2].casefold() in ("pi", "π") else r"\infty")
    return answer


def _unwrapped(answer: str) -> str:
    return _TEXT.sub(r"\1", answer)


def _plain(answer: str) -> str:
    """For comparing spellings: no `text{}` around words, blanks only where they part words."""
    plain = " ".join(_unwrapped(_cleaned(answer)).split())
    return re.sub(r"\s*([^\w\s])\s*", r"\1", plain).removesuffix(".")


def _digits(integer: str) -> str:
    digits = integer.lstrip("+-").replace(",", "").lstrip("0") or "0"
    return f"-{digits}" if integer.startswith("-") and digits != "0" else digits


def _letter(answer: str) -> str | None:
    if alone := _CHOICE.fullmatch(answer.upper()):
        return alone[1]
    labelled = _LABELLED.fullmatch(answer)
    return (labelled[1] or labelled[2]) if labelled else None


def _brackets(plain: str) -> str:
    return "{" if plain.startswith((r"\{", "{")) else plain[0]
