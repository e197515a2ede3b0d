"""A chat model that says what it was told to say."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.ledger import Ledger
from lanpo_memory.types import Completion, Failure, Messages, Usage, fingerprint

__all__ = ["ScriptedCall", "ScriptedChatModel", "ScriptedChoiceScorer"]

Answer = str | Completion | Failure


@dataclass(frozen=True)
class ScriptedCall:
    """One call of `ScriptedChatModel.generate`, as it was made."""

    conversations: list[Messages]
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]
    role: str


class ScriptedChatModel:
    """A `ChatModel` whose answers are written beforehand; it records each call in `calls`.

    Args:
        answers: a list, used up in order over all calls; or a function from a conversation to its
            answer; or one string, the answer to everything. An answer is a string, a `Completion`
            or a `Failure`. Strings count their words as tokens and are never cut.
        ledger: counts the calls and holds a budget; one of its own by default. For a budget in
            tokens, a call may cost the words of its prompt and `max_tokens`.

    >>> model = ScriptedChatModel(["5", Failure(reason="busy")])
    >>> ask = [{"role": "user", "content": "2 + 3?"}]
    >>> [type(answer).__name__ for answer in model.generate([ask, ask], max_tokens=8)]
    ['Completion', 'Failure']
    >>> model.calls[0].role
    'solve'
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Callable[[Messages], Answer],
        *,
        ledger: Ledger | None = None,
    ) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.calls: list[ScriptedCall] = []
        self._answers = answers
        self._used = 0
        self._lock = threading.Lock()

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        """Answer each conversation from the script.

        Raises:
            InvalidInputError: the script is used up, which is a mistake of the script.
            BudgetExceeded: the calls could cross a budget; none of them was made.
        """
        asked = [copy.deepcopy(list(messages)) for messages in conversations]
        most = sum(map(_words, asked)) + len(asked) * max_tokens
        with self._lock, self.ledger.reserve(role, calls=len(asked), tokens=most) as held:
            self.calls.append(ScriptedCall(asked, max_tokens, temperature, tuple(stop), role))
            answers = [_completed(self._next(messages), messages) for messages in conversations]
            for answer in answers:
                held.book(_usage(answer))
                if isinstance(answer, Failure):
                    self.ledger.note(role, answer.reason)
            return answers

    def _next(self, messages: Messages) -> Answer:
        if isinstance(self._answers, str):
            return self._answers
        if callable(self._answers):
            return self._answers(messages)
        if self._used >= len(self._answers):
            raise InvalidInputError(
                f"all {len(self._answers)} scripted answers are used up; write more of them"
            )
        self._used += 1
        return self._answers[self._used - 1]


def _completed(answer: Answer, messages: Messages) -> Completion | Failure:
    if not isinstance(answer, str):
        return answer
    return Completion(
        text=answer, prompt_tokens=_words(messages), completion_tokens=len(answer.split())
    )


def _words(messages: Messages) -> int:
    return sum(len(str(message["content"]).split()) for message in messages)


def _usage(answer: Completion | Failure) -> Usage:
    if isinstance(answer, Failure):
        return Usage(calls=1, failures=1)
    return Usage(
        calls=1, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
    )


class ScriptedChoiceScorer:
    """A `ChoiceScorer` that gives the first choice the probability it was told to give.

    Args:
        probability: of the first choice, one number for all or a function of the conversation; a
            `None` stands for a call that fails. The other choices share the rest.
        name: part of the fingerprint.
        ledger: counts the calls and holds a budget; one of its own by default.

    >>> judge = ScriptedChoiceScorer(0.9)
    >>> ask = [{"role": "user", "content": "Does it help?"}]
    >>> np.exp(judge.choice_logprobs([ask], ["yes", "no"])).round(2).tolist()
    [[0.8999999761581421, 0.10000000149011612]]
    """

    def __init__(
        self,
        probability: float | Callable[[Messages], float | None],
        *,
        name: str = "scripted",
        ledger: Ledger | None = None,
    ) -> None:
        self.fingerprint = f"scripted:{fingerprint(name)}"
        self.ledger = Ledger() if ledger is None else ledger
        self.asked: list[Messages] = []
        self._probability = probability

    def choice_logprobs(
        self, conversations: Sequence[Messages], choices: Sequence[str], *, role: str = "judge"
    ) -> NDArray[np.float32]:
        """See `ChoiceScorer.choice_logprobs`."""
        most = sum(_words(messages) + 1 for messages in conversations)
        with self.ledger.reserve(role, calls=len(conversations), tokens=most) as held:
            self.asked += [copy.deepcopy(list(messages)) for messages in conversations]
            rows = [self._row(messages, len(choices)) for messages in conversations]
            for messages, row in zip(conversations, rows, strict=True):
                failed = int(np.isnan(row).any())
                if failed:
                    self.ledger.note(role, "scripted to fail")
                held.book(Usage(calls=1, failures=failed, prompt_tokens=_words(messages)))
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(choices))

    def _row(self, messages: Messages, n: int) -> NDArray[np.float64]:
        scripted = self._probability
        first = scripted(messages) if callable(scripted) else scripted
        if first is None:
            return np.full(n, np.nan)
        shares = [first, *[(1 - first) / max(1, n - 1)] * (n - 1)]
        row: NDArray[np.float64] = np.log(np.clip(shares, 1e-12, 1.0))
        return row
