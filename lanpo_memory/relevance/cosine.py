"""Cosine of embeddings: a second, cheaper scorer next to a judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.protocols import Embedder
from lanpo_memory.types import Experience, Problem

__all__ = ["CosineRelevance"]


class CosineRelevance:
    """Cosine between the texts of the problem and of the problem an experience comes from.

    Negative cosines count as 0. Its gamma is a cosine, not the paper's P(yes): with a sentence
    encoder 0.9 means "the same problem with other numbers".

    >>> from lanpo_memory.testing import HashingEmbedder
    >>> scorer = CosineRelevance(HashingEmbedder())
    >>> problem = Problem(text="red apples")
    >>> round(float(scorer.score([(problem, Experience(problem=problem, thoughts="t"))])[0]), 3)
    1.0
    """

    default_gamma = 0.6

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.fingerprint = f"cosine:{embedder.fingerprint}"

    def score(self, pairs: Sequence[tuple[Problem, Experience]]) -> NDArray[np.float32]:
        """See `Relevance.score`; each text is embedded once a call."""
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        texts = list(dict.fromkeys(t for p, e in pairs for t in (p.text, e.problem.text)))
        rows = dict(zip(texts, self._embedder.embed(texts), strict=True))
        cosines = [float(rows[p.text] @ rows[e.problem.text]) for p, e in pairs]
        return np.clip(np.array(cosines, dtype=np.float32), 0.0, 1.0)
