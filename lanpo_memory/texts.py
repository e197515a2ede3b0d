"""Words, numbers and likeness of texts: what search and the near-duplicate check agree on."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence, Set
from functools import cached_property, lru_cache

from lanpo_memory.types import normalise

__all__ = ["is_reworded", "is_same_template", "numbers", "same_numbers", "storable", "words"]

_WORD = re.compile(r"\w+")
# Bytes to bytes: letters in lower case, all that is in no word a blank.
_ASCII_WORDS = bytes(
    ord(chr(i).lower()) if i < 128 and _WORD.match(chr(i)) else ord(" ") for i in range(256)
)
_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL = re.compile(r"\d+\.\d+")
_SHINGLE = 3
_LONG = 20_000  # characters: longer texts are read again each time, so that the cache stays small


def storable(text: str) -> str:
    r"""Return a text that every store takes: without NUL and without halves of surrogate pairs.

    >>> storable("a\0b \ud83d\ude00 \ud800!") == "ab \U0001f600 !"
    True
    """
    text = text.replace("\0", "")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def words(text: str) -> list[str]:
    r"""Return the lower-cased words (runs of letters, digits and underscores) of a text.

    >>> words("What is 3x + 2?")
    ['what', 'is', '3x', '2']
    """
    if text.isascii():  # the same, three times as fast
        return text.encode().translate(_ASCII_WORDS).decode().split()
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def numbers(text: str) -> Counter[str]:
    """Return the numbers of a text with their multiplicity, however they are written.

    >>> numbers("1,200 km or 1200.0 km") == numbers("1200 or 1200")
    True
    """
    return Counter(map(_plain, _NUMBER.findall(text)))


def _plain(number: str) -> str:
    """A number without separators of thousands and without zeros that say nothing."""
    if number.isdigit():
        return number
    if _THOUSANDS.fullmatch(number):
        number = number.replace(",", "")
    return number.rstrip("0").rstrip(".") if _DECIMAL.fullmatch(number) else number


class _Wording:
    """A sequence of words, and what two of them are compared by."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens

    @cached_property
    def ordered(self) -> list[str]:
        return sorted(self.tokens)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.tokens)

    @cached_property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        if len(self.tokens) < _SHINGLE:
            return frozenset([tuple(self.tokens)])
        return frozenset(zip(*(self.tokens[i:] for i in range(_SHINGLE)), strict=False))

    def is_like(self, other: _Wording, threshold: float, *, by_word: bool) -> bool:
        """Whether the words are the same, or enough of them or of their runs of three are."""
        if len(self.tokens) == len(other.tokens) and self.ordered == other.ordered:
            return True
        if by_word and _alike(self.words, other.words, threshold):
            return True
        return _alike(self.shingles, other.shingles, threshold)


class _Features:
    """What is known of one text. Most pairs differ in their numbers: the rest waits to be asked."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.numbers = sorted(map(_plain, _NUMBER.findall(text)))

    @cached_property
    def normalised(self) -> str:
        return normalise(self._text)

    @cached_property
    def wording(self) -> _Wording:
        return _Wording(words(self._text))

    @cached_property
    def template(self) -> _Wording:
        return _Wording(words(_NUMBER.sub("0", self._text)))


# One text is compared with many: a query with its candidates, those with the next query. GSM8K
# fits in; a text takes 0.4 kB while only its numbers were asked for, 5 kB with its template.
_cached_features = lru_cache(maxsize=8192)(_Features)


def _features(text: str) -> _Features:
    return _cached_features(text) if len(text) <= _LONG else _Features(text)


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
    one, two = _features(a), _features(b)
    if one.numbers != two.numbers:
        return False
    if one.normalised == two.normalised:
        return True
    if not one.wording.tokens:
        return False
    # Without numbers, few words decide what is asked: there only their order tells.
    return one.wording.is_like(two.wording, threshold, by_word=bool(one.numbers))


def is_same_template(a: str, b: str, *, threshold: float = 0.6) -> bool:
    """Tell whether two texts are the same problem but for their numbers.

    Both have numbers, not the same ones, and with all numbers masked they are alike by the measures
    of `is_reworded`. Never true where that is.

    >>> is_same_template("Ann has 3 red apples and 4 pears.", "Ann has 5 red apples and 9 pears.")
    True
    >>> is_same_template("Ann has 3 red apples and 4 pears.", "4 pears and 3 red apples Ann has.")
    False
    """
    one, two = _features(a), _features(b)
    if not one.numbers or not two.numbers or one.numbers == two.numbers:
        return False
    # Three in a row hardly agree where the words do not; most pairs end here.
    if not _alike(one.template.words, two.template.words, threshold / 2):
        return False
    return one.template.is_like(two.template, threshold, by_word=True)


def same_numbers(a: str, b: str) -> bool:
    """Tell whether two texts have the same numbers, equally often, and at least one.

    >>> same_numbers("3 apples and 4 pears", "Of 4 pears, 3 are ripe."), same_numbers("a", "b")
    (True, False)
    """
    found = _features(a).numbers
    return bool(found) and found == _features(b).numbers


def _alike(a: Set[object], b: Set[object], threshold: float) -> bool:
    # What both have is at most the smaller set, and what either has at least the larger.
    if min(len(a), len(b)) < threshold * max(len(a), len(b)):
        return False
    shared = len(a & b)
    return shared >= threshold * (len(a) + len(b) - shared)
