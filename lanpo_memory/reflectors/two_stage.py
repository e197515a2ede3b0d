"""Reflection in two stages: a model criticises the attempt first, the policy tries again then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lanpo_memory.errors import ConfigError
from lanpo_memory.parsing.thinking import spoken
from lanpo_memory.protocols import ChatModel, CritiquePrompts, ExperienceStore, Prompts
from lanpo_memory.reflectors.critiques import critique_key, stored_critiques
from lanpo_memory.texts import storable
from lanpo_memory.types import Attempt, Completion, Failure, Guidance

__all__ = ["ReflectPrompts", "TwoStageReflector"]


class ReflectPrompts(Prompts, CritiquePrompts, Protocol):
    """How to ask for a critique, and how to show an attempt with it or without."""


class TwoStageReflector:
    """Asks its own model for a critique of each attempt and puts both in front of the problem.

    The model is never the policy under training: reflection happens where the pool is, and a
    policy that is spread over several processes cannot answer there. Attempts of the same text are
    asked about once a call. Where no critique can be had, the attempt stands alone, as with
    `InRolloutReflector`: there is always guidance.

    Args:
        model: who criticises.
        prompts: how to ask, and how to show it.
        max_tokens: longest critique.
        store: where critiques are looked up first, if it keeps a cache. Whoever owns the pool
            writes them there: see `lanpo_memory.reflectors.critiques`.

    Raises:
        ConfigError: `max_tokens` is below 1.

    Source: verbal self-reflection, Reflexion, arXiv 2303.11366; without its reward.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.testing import ScriptedChatModel
    >>> from lanpo_memory.types import Problem
    >>> model = ScriptedChatModel("The sum is doubtful.")
    >>> reflector = TwoStageReflector(model, prompts=EnglishPrompts())
    >>> reflector.reflect([Attempt(problem=Problem(text="2 + 3?"), text="I say 6.")])[0].critique
    'The sum is doubtful.'
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        prompts: ReflectPrompts,
        max_tokens: int = 1024,
        store: ExperienceStore | None = None,
    ) -> None:
        if max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {max_tokens}")
        self.prompts = prompts
        self._model, self._max_tokens, self._store = model, max_tokens, store

    def reflect(self, attempts: Sequence[Attempt]) -> list[Guidance]:
        """Return one guidance of kind ``intra`` for each attempt.

        Raises:
            BudgetExceeded: the model's budget does not allow the critiques; none was asked for.
        """
        critiques = self._critiques(attempts)
        return [self._guidance(attempt, critiques[critique_key(attempt)]) for attempt in attempts]

    def _critiques(self, attempts: Sequence[Attempt]) -> dict[str, str]:
        """The critique of each attempt by its key, empty where none could be had."""
        distinct = {critique_key(attempt): attempt for attempt in attempts}
        stored = stored_critiques(self._store, list(distinct.values())) if distinct else []
        critiques = dict(zip(distinct, stored, strict=True))
        unknown = [key for key, critique in critiques.items() if not critique]
        if unknown:
            answers = self._model.generate(
                [self.prompts.critique(distinct[key]) for key in unknown],
                max_tokens=self._max_tokens,
                role="reflect",
            )
            critiques.update(zip(unknown, map(_said, answers), strict=True))
        return critiques

    def _guidance(self, attempt: Attempt, critique: str) -> Guidance:
        shown = (
            self.prompts.intra_after(attempt, critique) if critique else self.prompts.intra(attempt)
        )
        return Guidance(kind="intra", text=shown, attempt=attempt, critique=critique)


def _said(answer: Completion | Failure) -> str:
    """What a model said, without what it thought before; empty for thoughts alone."""
    if isinstance(answer, Failure):
        return ""
    said, _ = spoken(answer.text)
    return storable(said).strip()
