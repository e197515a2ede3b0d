"""Conversations as a language model reads them: rendered by its chat template, in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.models.transformers_identity import context_length
from lanpo_memory.models.transformers_loading import Loaded
from lanpo_memory.types import Failure, Messages

__all__ = ["PromptReader", "Tokens"]


class Tokens(NamedTuple):
    """A rendered conversation: its place in the call, its text and its tokens."""

    place: int
    text: str
    ids: list[int]


class PromptReader:
    """Renders conversations, and refuses those that the model cannot answer."""

    def __init__(self, loaded: Loaded) -> None:
        self._model, self._tokenizer, self._name = loaded
        self._context = context_length(self._model, self._tokenizer)

    def read(self, conversations: Sequence[Messages], *, room: int) -> list[Tokens | Failure]:
        """Read each; what is refused or leaves no `room` for an answer (in tokens) is a failure.

        Raises:
            InvalidInputError: something is no list of messages.
            ConfigError: the tokenizer does not belong to the model.
        """
        texts = [self._rendered(i, each) for i, each in enumerate(conversations)]
        ids = iter(self._ids([text for text in texts if isinstance(text, str)]))
        return [
            text if isinstance(text, Failure) else self._fitting(Tokens(i, text, next(ids)), room)
            for i, text in enumerate(texts)
        ]

    def choices(self, prompt: Tokens, choices: Sequence[str]) -> list[list[int]]:
        """Return each choice's tokens as they come behind the prompt.

        Where its first token would melt into the prompt's last one, as they are alone.

        Raises:
            ConfigError: the tokenizer has no tokens for a choice.
        """
        n = len(prompt.ids)
        behind = self._ids([prompt.text + choice for choice in choices])
        found = [
            whole[n:] if whole[:n] == prompt.ids else alone
            for whole, alone in zip(behind, self._ids(list(choices)), strict=True)
        ]
        for choice, ids in zip(choices, found, strict=True):
            if not ids or self._tokenizer.unk_token_id in ids:
                raise ConfigError(
                    f"the tokenizer of {self._name!r} has no tokens for the choice {choice!r}; "
                    "ask for choices in words that it knows"
                )
        return found

    def fits(self, tokens: int) -> bool:
        """Tell whether the model's context holds so many tokens."""
        return self._context is None or tokens <= self._context

    def _rendered(self, place: int, conversation: Messages) -> str | Failure:
        from jinja2 import TemplateError

        messages: list[Any] = list(conversation)
        if not all(isinstance(message, Mapping) and "role" in message for message in messages):
            raise InvalidInputError(
                f"conversation {place} is no list of messages; a message has a role and a content"
            )
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        # Such as: system messages are not supported, roles have to alternate, no content.
        except (TemplateError, TypeError) as error:
            return Failure(reason=f"the chat template of {self._name!r} refuses it: {error}")
        return text

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: Mapping[str, Any] = self._tokenizer(
            texts,
            add_special_tokens=False,  # the template has them
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _fitting(self, prompt: Tokens, room: int) -> Tokens | Failure:
        n, known = len(prompt.ids), self._model.get_input_embeddings().weight.shape[0]
        if not n:
            return Failure(reason="the chat template renders this conversation to nothing")
        if max(prompt.ids) >= known:  # on a GPU, looking it up would end the process
            raise ConfigError(
                f"the tokenizer has tokens that {self._name!r} lacks: it belongs to another model"
            )
        if not self.fits(n + room):
            return Failure(
                reason=f"the prompt has {n:,} tokens and the answer may have {room:,}, but the "
                f"context of {self._name!r} ends at {self._context}; shorten the prompt or "
                "lower max_tokens"
            )
        return prompt
