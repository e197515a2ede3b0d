"""How much a lesson says, and how often it is said."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from lanpo_memory.texts import numbers, words
from lanpo_memory.types import Experience

__all__ = ["lesson_text", "near_duplicates", "number_density", "shared_words"]

_TELLING = 4  # letters: shorter words stand in every text
_LIST_NUMBER = re.compile(r"^\s*(?:step\s+)?\(?\d{1,3}[.):]\s+", re.IGNORECASE | re.MULTILINE)


def lesson_text(experience: Experience) -> str:
    """Return all that an experience says."""
    said = (experience.thoughts, *experience.principles, *experience.pitfalls)
    return "\n".join(part for part in said if part.strip())


def number_density(text: str) -> float:
    r"""Return how many numbers there are for each hundred words, numbers counted as words.

    Those that only count the items of a list are left out.

    >>> number_density("1. Halve it.\n2. Add 7.")
    25.0
    """
    said = _LIST_NUMBER.sub("", text)
    n = len(words(said))
    return 100 * numbers(said).total() / n if n else 0.0


def shared_words(text: str, problem: str) -> float | None:
    """Return the share of a text's different words that stand in the problem, too.

    Of words of four letters and more; `None` without any. A lesson for strangers has few of them.

    >>> shared_words("Halve the eggs that Ann sold.", "Ann sold half of her 8 eggs.")
    0.5
    """
    told = _telling(text)
    return len(told & _telling(problem)) / len(told) if told else None


def _telling(text: str) -> set[str]:
    return {word for word in words(text) if len(word) >= _TELLING and not word.isnumeric()}


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.8) -> list[int]:
    """Return for each text how many others share so much of their words with it (Jaccard index).

    Two sets that are so alike have one of their rarest words in common, so that only those that
    do are compared.

    >>> near_duplicates(["pair both of the ends", "Pair the ends of both!", "count on"])
    [1, 1, 0]
    """
    sets = [frozenset(words(text)) for text in texts]
    frequency = Counter(word for each in sets for word in each)
    counts = [0] * len(texts)
    by_word: defaultdict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(sets):
        rarest = sorted(each, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(each) - math.ceil(threshold * len(each)) + 1] if each else []
        for j in {j for word in prefix for j in by_word[word]}:
            if _alike(each, sets[j], threshold):
                counts[i] += 1
                counts[j] += 1
        for word in prefix:
            by_word[word].append(i)
    return counts


def _alike(a: frozenset[str], b: frozenset[str], threshold: float) -> bool:
    shared = len(a & b)
    return shared >= threshold * (len(a) + len(b) - shared)
