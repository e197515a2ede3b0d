"""An embedder without a model: hashed words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError

__all__ = ["HashingEmbedder"]


class HashingEmbedder:
    """Each word adds a signed one at the place its hash names; rows are scaled to length one.

    The same on every machine and in every process. Texts that share words are close, meaning
    plays no part.

    Args:
        dim: length of a row.

    Raises:
        ConfigError: `dim` is below 1.

    >>> a, b = HashingEmbedder().embed(["add two numbers", "Two numbers, add!"])
    >>> round(float(a @ b), 2)
    0.77
    """

    def __init__(self, dim: int = 64) -> None:
        if dim < 1:
            raise ConfigError(f"dim is {dim}; a row needs at least 1 place")
        self.dim = dim
        self.fingerprint = f"hashing-words-v1:dim={dim}:unit"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape (n, d)."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float64)
        for row, text in zip(rows, texts, strict=True):
            self._fill(row, text)
        return rows.astype(np.float32)

    def _fill(self, row: NDArray[np.float64], text: str) -> None:
        for token in re.findall(r"\w+|[^\w\s]", text.lower()):
            digest = hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=8).digest()
            number = int.from_bytes(digest, "big")
            row[(number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        length = float(np.linalg.norm(row))
        if length == 0.0:  # no words, or words that cancel: still a unit row
            row[0] = length = 1.0
        row /= length
