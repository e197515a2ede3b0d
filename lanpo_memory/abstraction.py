"""Relevant abstraction: what experiences of other problems mean for the problem at hand."""

from __future__ import annotations

from collections.abc import Sequence

from lanpo_memory.errors import positive
from lanpo_memory.protocols import AbstractPrompts, ChatModel
from lanpo_memory.summarizers.reading import read_answer
from lanpo_memory.types import (
    Completion,
    Experience,
    ExperienceMetadata,
    Failure,
    Problem,
    Retrieved,
)

__all__ = ["RelevantAbstraction"]

_Item = tuple[Problem, Sequence[Retrieved]]


class RelevantAbstraction:
    """Asks a model to turn the experiences that were chosen into lessons for one problem.

    The second, optional step of the paper's relevant abstraction (arXiv 2510.16552): the filter
    comes before it, the inter-sample prompt, which demands an evaluation, after it. An item without
    experiences is a `Failure` and costs no call. What it makes belongs to the prompt, not to the
    pool: it is as specific as its problem.

    Args:
        model: who abstracts.
        prompts: how to ask and how to read.
        max_tokens: longest answer.

    Raises:
        ConfigError: `max_tokens` is below 1.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.testing import ScriptedChatModel
    >>> from lanpo_memory.types import Problem
    >>> note = Experience(problem=Problem(text="2 + 3?"), principles=("count on",))
    >>> model = ScriptedChatModel('{"principles": ["count on from 7"]}')
    >>> abstraction = RelevantAbstraction(model, prompts=EnglishPrompts())
    >>> item = Problem(text="7 + 2?"), [Retrieved(experience=note, score=1, similarity=1)]
    >>> abstraction.abstract([item])[0].principles
    ('count on from 7',)
    """

    def __init__(
        self, model: ChatModel, *, prompts: AbstractPrompts, max_tokens: int = 1024
    ) -> None:
        positive("max_tokens", max_tokens)
        self.prompts = prompts
        self._model, self._max_tokens = model, max_tokens

    def abstract(self, items: Sequence[_Item]) -> list[Experience | Failure]:
        """Return an experience of its problem, or a failure, for each item.

        Raises:
            BudgetExceeded: the model's budget does not allow it; nothing was asked.
        """
        asked = [i for i, (_, retrieved) in enumerate(items) if retrieved]
        answers = self._answers([items[i] for i in asked])
        by_item = dict(zip(asked, answers, strict=True))
        return [self._read(item, by_item.get(i)) for i, item in enumerate(items)]

    def _answers(self, items: Sequence[_Item]) -> list[Completion | Failure]:
        if not items:
            return []
        return self._model.generate(
            [self.prompts.abstract(problem, retrieved) for problem, retrieved in items],
            max_tokens=self._max_tokens,
            role="abstract",
        )

    def _read(self, item: _Item, answer: Completion | Failure | None) -> Experience | Failure:
        problem, retrieved = item
        if answer is None:
            return Failure(reason="there are no experiences to abstract from")
        parents = tuple(dict.fromkeys(each.experience.id for each in retrieved))
        metadata = ExperienceMetadata(source="abstraction", parents=parents)
        return read_answer(self.prompts, problem, answer, metadata)
