"""Words, numbers and likeness of texts: what search and the near-duplicate check agree on."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Set

from lanpo_memory.types import normalise

__all__ = ["is_reworded", "numbers", "words"]

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")
_SHINGLE = 3


def words(text: str) -> list[str]:
    r"""Return the lower-cased words (runs of letters, digits and underscores) of a text.

    >>> words("What is 3x + 2?")
    ['what', 'is', '3x', '2']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def numbers(text: str) -> Counter[str]:
    """Return the numbers of a text with their multiplicity."""
    return Counter(_NUMBER.findall(text))


def _shingles(tokens: list[str]) -> set[tuple[str, ...]]:
    if len(tokens) < _SHINGLE:
        return {tuple(tokens)}
    return {tuple(tokens[i : i + _SHINGLE]) for i in range(len(tokens) - _SHINGLE + 1)}


def is_reworded(a: str, b: str, *, threshold: float = 0.6) -> bool:
    """Tell whether two texts are the same problem: equal, or alike with the same numbers.

    Alike means that they share at least `threshold` of their words (where there are numbers) or of
    their runs of three words (Jaccard index). The same template with other numbers is another
    problem. This catches light rewording and other word order; it does not catch a free paraphrase
    or numbers written as words.

    >>> is_reworded("Ann has 3 red apples and 4 pears.", "ann has 3 red apples and 4 pears")
    True
    >>> is_reworded("Ann has 3 red apples and 4 pears.", "4 pears and 3 red apples Ann has.")
    True
    >>> is_reworded("Ann has 3 red apples and 4 pears.", "Ann has 5 red apples and 4 pears.")
    False
    """
    if normalise(a) == normalise(b):
        return True
    words_a, words_b = words(a), words(b)
    if not words_a or numbers(a) != numbers(b):
        return False
    if Counter(words_a) == Counter(words_b):
        return True
    # Without numbers, few words decide what is asked: there only their order tells.
    by_word = bool(numbers(a)) and _alike(set(words_a), set(words_b), threshold)
    return by_word or _alike(_shingles(words_a), _shingles(words_b), threshold)


def _alike(a: Set[object], b: Set[object], threshold: float) -> bool:
    return len(a & b) >= threshold * len(a | b)
