"""The conformance kit of embedders."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from lanpo_memory.protocols import Embedder
from lanpo_memory.testing.conformance.samples import completions

__all__ = ["EmbedderConformance"]

TEXTS = ["add two numbers", "Two numbers, add!", "the area of a triangle", "prime", "."]


class EmbedderConformance:
    """All that `Embedder` says, as tests; subclass it and say `embedder`.

    `CLOSE` is how far the rows of a text may differ between two calls: padding moves the last
    digits of a model's.

    >>> from lanpo_memory.testing import HashingEmbedder
    >>> class TestHashing(EmbedderConformance):
    ...     def embedder(self) -> Embedder:
    ...         return HashingEmbedder()
    """

    CLOSE: ClassVar[float] = 1e-5

    def embedder(self) -> Embedder:
        """An embedder."""
        raise NotImplementedError(f"{type(self).__name__} has to say how an embedder is made")

    def _rows(self, texts: list[str]) -> NDArray[np.float32]:
        rows = self.embedder().embed(texts)
        assert rows.ndim == 2, "rows have the shape (n, d)"
        assert len(rows) == len(texts), "one row for each text"
        assert rows.dtype == np.float32, f"float32, not {rows.dtype}"
        assert np.isfinite(rows).all()
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        assert lengths == pytest.approx(np.ones(len(texts)), abs=1e-3), "rows have length one"
        return rows

    def test_the_fingerprint_names_the_space(self) -> None:
        one = self.embedder()
        before = one.fingerprint
        assert before
        assert before == self.embedder().fingerprint
        one.embed(TEXTS)
        assert one.fingerprint == before

    def test_texts_become_unit_rows(self) -> None:
        self._rows(TEXTS)

    def test_no_texts_have_no_rows_of_the_same_length(self) -> None:
        none = self.embedder().embed([])
        assert none.shape == (0, self._rows(TEXTS).shape[1])

    def test_rows_come_in_the_order_of_the_texts(self) -> None:
        rows = self._rows(TEXTS)
        assert self._rows(TEXTS[::-1])[::-1] == pytest.approx(rows, abs=self.CLOSE)
        alone = np.concatenate([self._rows([text]) for text in TEXTS])
        assert alone == pytest.approx(rows, abs=self.CLOSE), "a text depends on its neighbours"

    def test_the_same_text_has_the_same_row(self) -> None:
        rows = self._rows([TEXTS[0], *TEXTS])
        assert rows[0] == pytest.approx(rows[1], abs=self.CLOSE)

    @completions
    def test_any_text_has_a_row(self, text: str) -> None:
        texts = [text, "plain"]
        self._rows(texts)
        assert texts == [text, "plain"], "what it is handed stays as it was"
