from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lanpo_memory import texts
from lanpo_memory.texts import is_reworded, is_same_template, numbers, same_numbers, words
from lanpo_memory.types import normalise

ANN = "Ann has 3 red apples and buys 4 more. How many apples has Ann?"


def test_words_are_lower_case_and_composed():
    assert words("Cafe\u0301 at 3x_1!") == ["café", "at", "3x_1"]
    assert words("?!") == []


def test_numbers_lose_separators_of_thousands_and_keep_points_and_fractions():
    assert numbers("1,000 of 3.5 and 2/3 of 3.5.") == Counter({"3.5": 2, "1000": 1, "2/3": 1})


# ---------------------------------------------------------------------- the same problem


def shingles(tokens: list[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + 3]) for i in range(max(1, len(tokens) - 2))}


def plainly_reworded(a: str, b: str, threshold: float) -> bool:
    """What `is_reworded` means, without any shortcut."""
    if normalise(a) == normalise(b):
        return True
    one, two = words(a), words(b)
    if not one or numbers(a) != numbers(b):
        return False
    pairs = [(shingles(one), shingles(two))] + [(set(one), set(two))] * bool(numbers(a))
    alike = any(len(x & y) >= threshold * len(x | y) for x, y in pairs)
    return Counter(one) == Counter(two) or alike


TOKENS = ["ann", "Ann", "has", "3", "4", "1,5", "3x", "e\u0301", "é", "?", ".", " ", "\n", "/", ""]
TEXTS = st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join) | st.text(max_size=12)


@given(a=TEXTS, b=TEXTS, threshold=st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]))
@example(a="", b="", threshold=0.6)
@example(a="?", b="!", threshold=0.0)
@example(a="é 3", b="e\u0301  3", threshold=1.0)
def test_shortcuts_change_no_verdict(a: str, b: str, threshold: float):
    expected = plainly_reworded(a, b, threshold)
    assert is_reworded(a, b, threshold=threshold) is expected
    assert is_reworded(b, a, threshold=threshold) is plainly_reworded(b, a, threshold)


def test_composition_leaves_numbers_alone():
    # Why unlike numbers settle it before white space and composition are looked at.
    changed = [
        char
        for char in map(chr, [*range(0xD800), *range(0xE000, 0x30000)])
        if (composed := unicodedata.normalize("NFC", char)) != char
        and any(c.isdecimal() or c in ".,/" for c in char + composed)
    ]
    assert not changed


def test_without_numbers_the_order_of_words_decides():
    a = "Is the sum of two odd numbers even or is it odd?"
    assert not is_reworded(a, "Is it two odd or even numbers, and is the sum odd or not of?")
    assert is_reworded(a, "So: is the sum of two odd numbers even or is it odd?")


# ---------------------------------------------------------------------- the same template


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (ANN.replace("3", "5"), True),
        (ANN.replace("3", "1,250").replace("4", "2/3"), True),
        ("Bob has 5 red apples and buys 9 more. How many apples has Bob?", True),
        ("How many apples has Ann, who has 5 red apples and buys 9 more?", True),
        ("Ann has 4 red apples and buys 3 more. How many apples has Ann?", False),  # same numbers
        (ANN, False),
        (ANN.upper(), False),
        ("Ann has three red apples and buys four more. How many apples has Ann?", False),
        ("A train of 3 cars takes 5 hours. How long is it?", False),
        ("5 and 9", False),
    ],
)
def test_the_same_wording_with_other_numbers_is_recognised(text: str, same: bool):
    assert is_same_template(ANN, text) is same
    assert is_same_template(text, ANN) is same


def test_numbers_within_words_are_masked_too():
    assert is_same_template("Solve 3x + 2 = 11 for x.", "Solve 5x + 4 = 19 for x.")
    assert not is_same_template("Solve 3x + 2 = 11 for x.", "Solve 5y + 4 = 19 for y.")


def test_the_threshold_is_the_share_of_words():
    a, b = "1 b c d e", "2 b c d x"  # of 0 b c d e x, four are shared
    assert is_same_template(a, b, threshold=4 / 6)
    assert not is_same_template(a, b, threshold=0.67)


@given(a=TEXTS, b=TEXTS, threshold=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_templates_are_symmetric_and_never_rewordings(a: str, b: str, threshold: float):
    found = is_same_template(a, b, threshold=threshold)
    assert found is is_same_template(b, a, threshold=threshold)
    if found:
        assert numbers(a) != numbers(b)
        assert not is_reworded(a, b, threshold=threshold)
        assert not same_numbers(a, b)


@given(a=TEXTS, b=TEXTS)
def test_same_numbers_are_the_same_multiset_with_something_in_it(a: str, b: str):
    assert same_numbers(a, b) is (numbers(a) == numbers(b) and numbers(a).total() > 0)


# ---------------------------------------------------------------------- work done once


def test_each_text_is_read_once(monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []

    def counted(text: str) -> list[str]:
        read.append(text)
        return words(text)

    monkeypatch.setattr(texts, "words", counted)
    texts._cached_features.cache_clear()
    one, two = "Once upon a time there were 7 dwarfs.", "Once upon a time there were 8 dwarfs."
    for _ in range(3):
        assert is_same_template(one, two)
        assert not is_reworded(one, two)
    assert len(read) == 2, "each template once, the wording itself not at all"


def test_the_cache_is_bounded_and_leaves_long_texts_out():
    texts._cached_features.cache_clear()
    long = "word 1 " * 5_000
    assert is_reworded(long, long + "more")
    assert texts._cached_features.cache_info().currsize == 0
    assert texts._cached_features.cache_info().maxsize is not None


@pytest.mark.parametrize("written", ["1,200", "1200.0", "$1200$", "1,200.00"])
def test_a_number_is_the_same_however_it_is_written(written: str):
    asked = f"A shop orders {written} pens in boxes of 6 pens each. How many boxes arrive?"
    stored = "A shop orders 1200 pens in boxes of 6 pens each. How many boxes arrive?"
    assert is_reworded(asked, stored)
    assert not is_reworded(asked, stored.replace("1200", "1201"))
    assert same_numbers("1.50 and 3/4", "3/4 and 1.5")
    assert not same_numbers("1.5", "15")
    assert not same_numbers("1,2", "12")  # a list, not a thousand
