"""Shared pieces of words: a scorer that needs no model and no index."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.texts import words
from lanpo_memory.types import Experience, Problem, normalise

__all__ = ["LexicalRelevance"]

_GRAM = 4  # characters

_Bag = Mapping[str, float]


class LexicalRelevance:
    """Likeness of the problem's text and the text of the problem an experience comes from.

    The cosine between bags of the runs of four characters within words, each counted as
    1 + ln(tf). Endings of words matter little then, and short words, which are everywhere, hardly
    weigh: that does without the frequencies an index would know. 1 for the same text, the same in
    both directions, the same on every machine. What the lesson says is not looked at.

    On GSM8K it sorts as BM25 does: of two pairs, one alike and one not (cosine of MiniLM at least
    0.6, and below 0.3), it puts the like one first in 93 % of cases (BM25: 93 %, whole words with
    the same weights: 86 %). Lessons copied from rollouts, scored too, made it no better.

    >>> scorer = LexicalRelevance()
    >>> lesson = Experience(problem=Problem(text="Nine red apples"), thoughts="Count.")
    >>> queries = [Problem(text=t) for t in ("Nine red apples", "A red apple", "Green pears")]
    >>> [round(float(score), 2) for score in scorer.score([(q, lesson) for q in queries])]
    [1.0, 0.6, 0.0]
    """

    # On GSM8K (400 queries) the best of 1,000 pooled problems is this similar for 44 % of the
    # queries, the best of 7,000 for 80 %. A default, not a law: `calibrate_gamma` finds yours.
    default_gamma = 0.4
    fingerprint = f"lexical-v1:chars={_GRAM}:log-tf"

    def score(self, pairs: Sequence[tuple[Problem, Experience]]) -> NDArray[np.float32]:
        """See `Relevance.score`; each text is read once a call."""
        texts = {text for p, e in pairs for text in (p.text, e.problem.text)}
        bags = {text: _bag(text) for text in texts}
        known: dict[tuple[str, str], float] = {}
        for problem, experience in pairs:
            pair = problem.text, experience.problem.text
            if pair not in known:
                same = normalise(pair[0]) == normalise(pair[1])
                known[pair] = 1.0 if same else _cosine(bags[pair[0]], bags[pair[1]])
        scores = [known[p.text, e.problem.text] for p, e in pairs]
        return np.array(scores, dtype=np.float32)


def _bag(text: str) -> _Bag:
    """Weights by run of characters, scaled to length one; empty for a text without words."""
    counts = Counter(gram for word in words(text) for gram in _grams(word))
    weights = {gram: 1.0 + math.log(n) for gram, n in counts.items()}
    length = math.sqrt(math.fsum(w * w for w in weights.values()))
    return {gram: w / length for gram, w in weights.items()}


def _grams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + _GRAM] for i in range(max(1, len(padded) - _GRAM + 1))]


def _cosine(a: _Bag, b: _Bag) -> float:
    # fsum is exact: the order, and so the direction, plays no part.
    return min(1.0, math.fsum(a[gram] * b[gram] for gram in a.keys() & b.keys()))
