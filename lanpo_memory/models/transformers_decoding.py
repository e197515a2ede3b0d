"""How an answer is drawn, when it ends, and what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Answer", "Sampler", "StopStrings", "answered"]

_MARGIN = 8  # tokens that decode to nothing, or to something else at the start of a text


class Answer(NamedTuple):
    """What came of one row: `tokens` were generated, the end token included."""

    text: str
    tokens: int
    truncated: bool


class Sampler:
    """A logits processor that draws each row's next token from numbers of the row's own.

    So an answer depends neither on the batch it is in nor on anybody's random state. All tokens
    but the one drawn get a score of minus infinity; greedy search then takes it.

    Args:
        keys: for each row the key of its numbers.
        seed: of all rows.
        temperature: above 0.
        max_tokens: how many numbers a row needs.
        prompt_length: of the padded batch.
        device: where the scores are.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        *,
        seed: int,
        temperature: float,
        max_tokens: int,
        prompt_length: int,
        device: torch.device,
    ) -> None:
        import torch

        numbers = np.stack([_uniform(seed, key, max_tokens) for key in keys])
        # Sums over a vocabulary; Apple's GPUs have no float64.
        self._precise = torch.float32 if device.type == "mps" else torch.float64
        self._uniform = torch.tensor(numbers, device=device)
        self._temperature, self._start = temperature, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, shape (rows, vocabulary), that leave one token to choose."""
        import torch

        step = input_ids.shape[1] - self._start
        logits = scores.float()
        scaled = (logits - logits.amax(-1, keepdim=True)) / self._temperature
        sums = scaled.softmax(-1).to(self._precise).cumsum(-1)
        target = self._uniform[:, step, None] * sums[:, -1:]
        drawn = torch.searchsorted(sums, target, right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def _uniform(seed: int, key: bytes, n: int) -> NDArray[np.float32]:
    """Numbers in [0, 1), the same for the same seed and key; a longer row begins like a shorter."""
    digest = hashlib.blake2b(b"%d|" % seed + key, digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).random(n, dtype=np.float32)


class StopStrings:
    """A stopping criterion: a row is done once one of the strings stands in its completion.

    The library's own criterion reads the prompt as well, and has to compare each string to the
    whole vocabulary beforehand.

    Attributes:
        ends: for each row the number of tokens at which it was stopped, or `None`.
    """

    def __init__(
        self, tokenizer: Any, stop: Sequence[str], *, rows: int, prompt_length: int
    ) -> None:
        self.ends: list[int | None] = [None] * rows
        self._tokenizer, self._stop, self._start = tokenizer, tuple(stop), prompt_length
        # A token that decodes to something stands for one byte at least.
        self._tail = max((len(text.encode()) for text in stop), default=0) + _MARGIN

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are done, shape (rows,)."""
        import torch

        if self._stop:
            completions = input_ids[:, self._start :]
            for i, tail in enumerate(completions[:, -self._tail :].tolist()):
                if self.ends[i] is None and self._stops(tail):
                    self.ends[i] = completions.shape[1]
        return torch.tensor([end is not None for end in self.ends], device=input_ids.device)

    def _stops(self, tail: list[int]) -> bool:
        text: str = self._tokenizer.decode(tail, skip_special_tokens=True)
        return any(stop in text for stop in self._stop)


def answered(
    tokenizer: Any,
    ids: Sequence[int],
    *,
    ends: Sequence[int],
    stop: Sequence[str],
    stopped_at: int | None,
) -> Answer:
    """Read one row of `generate`, which is filled up behind the token that ended it.

    Args:
        tokenizer: decodes the row.
        ids: the row without its prompt.
        ends: tokens that end an answer.
        stop: strings before the first of which the text is cut.
        stopped_at: the number of tokens at which a stop string was complete.
    """
    ids = ids[:stopped_at]
    last = next((i for i, token in enumerate(ids) if token in ends), None)
    tokens = len(ids) if last is None else last + 1
    text: str = tokenizer.decode(ids[:last], skip_special_tokens=True)
    found = [at for at in (text.find(each) for each in stop) if at >= 0]
    ended = last is not None or stopped_at is not None or bool(found)
    return Answer(text[: min(found, default=len(text))], tokens, truncated=not ended)
