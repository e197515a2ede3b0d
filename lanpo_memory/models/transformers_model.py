"""A chat model on this machine: Hugging Face transformers, in batches."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.ledger import Ledger, Reservation
from lanpo_memory.models.transformers_batches import in_batches, lent, padding
from lanpo_memory.models.transformers_decoding import Answer
from lanpo_memory.models.transformers_generating import Row, Settings, generated, settings_of
from lanpo_memory.models.transformers_identity import end_ids, identity
from lanpo_memory.models.transformers_loading import check_installed, load
from lanpo_memory.models.transformers_prompts import PromptReader, Tokens
from lanpo_memory.models.transformers_scoring import ChoiceRow, choice_rows, forward
from lanpo_memory.types import Completion, Failure, Messages, Usage

__all__ = ["TransformersModel"]

_LOST = Failure(reason="the conversation and a choice do not fit the context or the memory")
_TOO_BIG = Failure(reason="the conversation does not fit into memory, not even alone")


class TransformersModel:
    r"""A causal language model of Hugging Face: a `ChatModel` and an exact `ChoiceScorer`.

    Nothing is downloaded unless `model` is the name of a model on the hub that is not in the
    local cache; code that comes with a model is never run. Generation settings shipped with a
    model (temperature, top-p, penalties) are left aside; its end tokens count. Threads take turns.

    A prompt that leaves no room for `max_tokens` in the model's context is a `Failure`, never cut.
    A batch that does not fit into memory is halved; a conversation that does not fit alone is a
    `Failure`.

    Sampling depends on the seed, the conversation, and how often it was sampled before: neither on
    the batch it is in nor on torch's random state, which stays as it is.

    Args:
        model: a folder written by `save_pretrained`, a name on the hub, or a loaded model, whose
            train or eval mode is as before after each call.
        tokenizer: with a chat template; for a folder or a name, the one found there by default.
        name: for the fingerprint; the folder's or the hub's name by default.
        ledger: counts the calls and holds a budget; one of its own by default.
        batch_size: conversations a forward pass.
        device: where to load the model; CUDA if there is one, else the CPU.
        dtype: such as ``"bfloat16"``; as it was saved by default.
        seed: of all sampling.
        clock: seconds, for `Completion.seconds`.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: the model cannot be found or loaded, has no chat template, or a setting makes
            no sense.

    >>> from lanpo_rl.tiny import load_policy, load_tokenizer
    >>> model = TransformersModel(load_policy(), load_tokenizer())
    >>> ask = [{"role": "user", "content": "hint bako C09|bako bako bako 8_6"}]
    >>> model.generate([ask], max_tokens=16)[0].text
    'C09+14=\\boxed{23}'
    >>> chances = np.exp(model.choice_logprobs([ask], ["C09", "C10"]))
    >>> bool(chances[0, 0] > 0.9 > 0.1 > chances[0, 1])
    True
    """

    def __init__(
        self,
        model: str | Path | Any,
        tokenizer: Any | None = None,
        *,
        name: str | None = None,
        ledger: Ledger | None = None,
        batch_size: int = 16,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size has to be at least 1, got {batch_size}")
        check_installed()
        self.ledger = Ledger() if ledger is None else ledger
        self._loaded = load(model, tokenizer, name=name, device=device, dtype=dtype)
        self._model, self._tokenizer, self.name = self._loaded
        self._prompts = PromptReader(self._loaded)
        self._batch_size, self._seed, self._clock = batch_size, seed, clock
        self._sampled: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Name, settings, number format, chat template, and a sample of the weights as they are."""
        with self._lock:
            return identity(self._loaded)

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        """Answer each conversation: greedily at temperature 0, else by sampling.

        Completion tokens include the end token. An answer that was ended neither by an end token
        nor by a string of `stop` is `truncated`.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made.
            InvalidInputError: a setting or a conversation makes no sense.
            ConfigError: the tokenizer does not belong to the model.
        """
        _check(max_tokens, temperature, stop)
        with self._lock:
            settings = settings_of(
                self._model,
                self._tokenizer,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=self._seed,
                stop=stop,
            )
            read = self._prompts.read(conversations, room=max_tokens)
            prompts = [each for each in read if isinstance(each, Tokens)]
            most = sum(len(each.ids) + max_tokens for each in prompts)
            with self.ledger.reserve(role, calls=len(prompts), tokens=most) as held:
                answers = self._answers(prompts, settings, held)
        found = [each if isinstance(each, Failure) else answers[each.place] for each in read]
        self._note(role, found)
        return found

    def choice_logprobs(
        self, conversations: Sequence[Messages], choices: Sequence[str], *, role: str = "judge"
    ) -> NDArray[np.float32]:
        """Return log P(choice | conversation) in nats, summed over the tokens of each choice.

        The answer may go on behind a choice. Choices that differ in one token share a forward
        pass. A conversation that is refused or does not fit has a row of NaN.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made.
            InvalidInputError: a choice is empty, or a conversation makes no sense.
            ConfigError: the tokenizer lacks a choice, or does not belong to the model.
        """
        if isinstance(choices, str) or not all(choices):
            raise InvalidInputError("choices has to be a list of texts, none of them empty")
        with self._lock:
            read = self._prompts.read(conversations, room=0)
            prompts = [each for each in read if isinstance(each, Tokens)]
            rows = [row for each in prompts for row in self._choice_rows(each, choices)]
            calls, most = len({row.place for row in rows}), sum(len(row.ids) for row in rows)
            with self.ledger.reserve(role, calls=calls, tokens=most) as held:
                scores = self._scores(rows, (len(read), len(choices)), held)
        lost = [prompt for prompt in prompts if np.isnan(scores[prompt.place]).any()]
        self._note(
            role, [*(each for each in read if isinstance(each, Failure)), *[_LOST] * len(lost)]
        )
        return scores

    def _note(self, role: str, answers: Sequence[Completion | Failure]) -> None:
        for each in answers:
            if isinstance(each, Failure):
                self.ledger.note(role, each.reason)

    # --------------------------------------------------------------- generating

    def _answers(
        self, prompts: list[Tokens], settings: Settings, held: Reservation
    ) -> dict[int, Completion | Failure]:
        rows = [Row(each, self._key(each.ids, settings.temperature)) for each in prompts]
        rows.sort(key=lambda row: -len(row.prompt.ids))  # alike side by side: little padding
        answers: dict[int, Completion | Failure] = {}
        run = partial(generated, self._model, self._tokenizer, settings=settings)
        before = self._clock()
        with lent(self._model):
            for batch, results in in_batches(rows, self._batch_size, run):
                seconds, before = self._share(before, len(batch))
                for i, row in enumerate(batch):
                    answer = _TOO_BIG if results is None else _completed(row, results[i], seconds)
                    held.book(_usage(answer, seconds))
                    answers[row.prompt.place] = answer
        return answers

    def _key(self, ids: Sequence[int], temperature: float) -> bytes:
        """Names the random numbers: the tokens asked, and how often they were sampled before."""
        if not temperature:
            return b""
        asked = hashlib.blake2b(str(ids).encode(), digest_size=16).digest()
        self._sampled[asked] += 1
        return asked + b"%d" % self._sampled[asked]

    def _share(self, before: float, rows: int) -> tuple[float, float]:
        """Seconds for each of the rows since then; and now."""
        now = self._clock()
        return (now - before) / rows, now

    # ------------------------------------------------------------------ scoring

    def _choice_rows(self, prompt: Tokens, choices: Sequence[str]) -> list[ChoiceRow]:
        """Return the rows of a conversation; none if one of them is too long for the context."""
        rows = choice_rows(prompt.place, prompt.ids, self._prompts.choices(prompt, choices))
        fit = all(self._prompts.fits(len(row.ids)) for row in rows)
        return rows if fit else []

    def _scores(
        self, rows: list[ChoiceRow], shape: tuple[int, int], held: Reservation
    ) -> NDArray[np.float32]:
        rows.sort(key=lambda row: -len(row.ids))
        scores = np.full(shape, np.nan, dtype=np.float32)
        pad = padding(self._tokenizer, end_ids(self._model, self._tokenizer))
        run, before = partial(forward, self._model, pad=pad), self._clock()
        asked: set[int] = set()
        lost: set[int] = set()
        with lent(self._model):
            for batch, results in in_batches(rows, self._batch_size, run):
                seconds, before = self._share(before, len(batch))
                for i, row in enumerate(batch):
                    if results is not None:
                        scores[row.place, list(row.last)] = results[i]
                    usage = Usage(
                        calls=_once(row.place, asked),
                        failures=_once(row.place, lost) if results is None else 0,
                        prompt_tokens=0 if results is None else len(row.ids),
                        seconds=seconds,
                    )
                    held.book(usage)
        scores[np.isnan(scores).any(1)] = np.nan  # half a row is no answer
        return scores


def _check(max_tokens: int, temperature: float, stop: Sequence[str]) -> None:
    if max_tokens < 1:
        raise InvalidInputError(f"max_tokens has to be at least 1, got {max_tokens}")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InvalidInputError(f"temperature has to be 0 or more, got {temperature}")
    if isinstance(stop, str) or not all(stop):
        raise InvalidInputError("stop has to be a list of texts, none of them empty")


def _completed(row: Row, answer: Answer, seconds: float) -> Completion:
    return Completion(
        text=answer.text,
        prompt_tokens=len(row.prompt.ids),
        completion_tokens=answer.tokens,
        truncated=answer.truncated,
        seconds=seconds,
    )


def _usage(answer: Completion | Failure, seconds: float) -> Usage:
    if isinstance(answer, Failure):
        return Usage(calls=1, failures=1, seconds=seconds)
    return Usage(
        calls=1,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=seconds,
    )


def _once(place: int, counted: set[int]) -> int:
    """1 for the first row of a conversation, 0 for the others: together they are one call."""
    if place in counted:
        return 0
    counted.add(place)
    return 1
