"""Experiences written by a model, in the paper by the policy itself."""

from __future__ import annotations

from collections.abc import Sequence

from lanpo_memory.errors import positive
from lanpo_memory.protocols import Prompts
from lanpo_memory.summarizers._provenance import provenance
from lanpo_memory.summarizers.reading import (
    Check,
    check_for,
    checked,
    matched,
    read_answer,
)
from lanpo_memory.types import Completion, Experience, Failure, Request, Rollout

__all__ = ["LLMSummarizer"]


class LLMSummarizer:
    """Asks for one summary of each rollout and reads the answers.

    A rollout with an empty completion is not asked about: it is a `Failure` right away. The
    prompts see problem and completion, never the reward or the verdict. An answer that cannot be
    read is a `Failure` with status ``failed``, a summary that the check refuses one with status
    ``rejected``.

    Args:
        prompts: how to ask and how to read.
        max_tokens: longest summary; 2048 in the paper (arXiv 2510.16552).
        check: refuses summaries that teach nothing; by default a `CopyCheck` if the prompts are
            `EnglishPrompts`, else none. `None` turns it off.

    Raises:
        ConfigError: `max_tokens` is below 1, or the check is none.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.types import Completion, Problem, Rollout
    >>> summarizer = LLMSummarizer(prompts=EnglishPrompts())
    >>> rollouts = [Rollout(problem=Problem(text="2 + 3?"), completion="3, 4, 5")]
    >>> [request.role for request in summarizer.ask(rollouts)]
    ['summarise']
    >>> summarizer.read(rollouts, [Completion(text='{"principles": ["count on"]}')])[0].principles
    ('count on',)
    """

    def __init__(
        self, *, prompts: Prompts, max_tokens: int = 2048, check: Check = "default"
    ) -> None:
        positive("max_tokens", max_tokens)
        self.prompts = prompts
        self.max_tokens = max_tokens
        self.check = check_for(prompts, check)

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        """Return one request for each rollout that has a completion."""
        return [
            Request(
                role="summarise",
                conversation=self.prompts.summarise(rollout.problem, rollout.completion),
                rollouts=(index,),
                max_tokens=self.max_tokens,
            )
            for index, rollout in enumerate(rollouts)
            if rollout.completion.strip()
        ]

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        """Return an experience or a failure for each rollout, in the order of the rollouts.

        Raises:
            InvalidInputError: the number of answers is not that of the requests.
        """
        asked = [i for i, rollout in enumerate(rollouts) if rollout.completion.strip()]
        matched(answers, len(asked))
        by_rollout = dict(zip(asked, answers, strict=True))
        return [self._read_one(i, one, by_rollout.get(i)) for i, one in enumerate(rollouts)]

    def _read_one(
        self, index: int, rollout: Rollout, answer: Completion | Failure | None
    ) -> Experience | Failure:
        at = (index,)
        if answer is None:
            return Failure(reason="the rollout's completion is empty", rollouts=at)
        metadata = provenance(rollout)
        read = read_answer(self.prompts, rollout.problem, answer, metadata, rollouts=at)
        return checked(read, answer, [rollout.completion], self.check, rollouts=at)
