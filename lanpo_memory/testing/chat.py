"""A chat model that says what it was told to say."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Completion, Failure, Messages

__all__ = ["ScriptedCall", "ScriptedChatModel"]

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

    >>> model = ScriptedChatModel(["5", Failure(reason="busy")])
    >>> ask = [{"role": "user", "content": "2 + 3?"}]
    >>> [type(answer).__name__ for answer in model.generate([ask, ask], max_tokens=8)]
    ['Completion', 'Failure']
    >>> model.calls[0].role
    'solve'
    """

    def __init__(self, answers: Sequence[Answer] | Callable[[Messages], Answer]) -> None:
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
        """
        asked = [copy.deepcopy(list(messages)) for messages in conversations]
        with self._lock:
            self.calls.append(ScriptedCall(asked, max_tokens, temperature, tuple(stop), role))
            return [_completed(self._next(messages), messages) for messages in conversations]

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
    asked = sum(len(str(message["content"]).split()) for message in messages)
    return Completion(text=answer, prompt_tokens=asked, completion_tokens=len(answer.split()))
