"""The same few rollouts, summarised again and again: does the summariser drift?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lanpo_memory.answering import NOT_ASKED
from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import Summarizer
from lanpo_memory.texts import words
from lanpo_memory.types import Completion, Experience, Failure, Request, Rollout
from lanpo_rl.alarms.base import at_least, is_state
from lanpo_rl.alarms.series import mean

__all__ = ["Canary", "likeness"]


def likeness(a: Sequence[str], b: Sequence[str]) -> float:
    """Jaccard index of two sets of words, 1.0 for two empty ones.

    >>> likeness(["find", "the", "rate"], ["find", "the", "unit", "rate"])
    0.75
    """
    one, two = set(a), set(b)
    return len(one & two) / len(one | two) if one or two else 1.0


class Canary:
    """A fixed set of right rollouts, re-summarised every so often. Nothing of it is ever stored.

    The set is filled with the first right rollouts it is offered, one of each problem. It is asked
    about as soon as it is full, or `every` steps after its first rollout, and from then on every
    `every` steps. What a rollout was first summarised as is what later readings are compared to.

    A summarizer that asks nothing about single right rollouts, as `ContrastiveSummarizer`, needs
    another one here; else there is nothing to read.

    Args:
        summarizer: how to ask and to read; the one of the run.
        size: rollouts in the set.
        every: steps between two readings.

    Raises:
        ConfigError: fewer than one of either.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.summarizers import LLMSummarizer
    >>> from lanpo_memory.types import Problem
    >>> canary = Canary(LLMSummarizer(prompts=EnglishPrompts()), size=1)
    >>> canary.offer([Rollout(problem=Problem(text="2 + 3?"), completion="5", correct=True)])
    >>> [request.role for request in canary.ask(step=0)], canary.ask(step=1)
    (['canary'], [])
    >>> canary.read([Completion(text='{"principles": ["count on"]}')])
    {'canary_readable': 1.0}
    >>> requests = canary.ask(step=25)
    >>> canary.read([Completion(text='{"principles": ["count back"]}')])["canary_agreement"]
    0.3333333333333333
    """

    def __init__(self, summarizer: Summarizer, *, size: int = 8, every: int = 25) -> None:
        at_least(1, size=size, every=every)
        self.summarizer, self.size, self.every = summarizer, size, every
        self._rollouts: list[Rollout] = []
        self._first: dict[str, list[str]] = {}  # words of the first summary by problem id
        self._since: int | None = None  # step of the last reading, before that of the first rollout
        self._asked = 0  # rollouts in a reading that waits for its answers
        self._started = False

    def offer(self, rollouts: Sequence[Rollout]) -> None:
        """Take right rollouts of problems that are not in the set, until it is full."""
        held = {rollout.problem.id for rollout in self._rollouts}
        for rollout in rollouts:
            if len(self._rollouts) == self.size:
                return
            usable = rollout.succeeded is True and rollout.completion.strip()
            if usable and rollout.problem.id not in held:
                held.add(rollout.problem.id)
                # Guidance is long, and no summary is made from it.
                self._rollouts.append(rollout.model_copy(update={"guidance": None}))
                self._since = rollout.step if self._since is None else self._since

    def ask(self, step: int) -> list[Request]:
        """Return what is to be answered in this step, greedily; nothing when it is not due."""
        if self._since is None or not self._due(step, self._since):
            return []
        requests = self.summarizer.ask(self._rollouts)
        if not requests:
            return []
        self._since, self._started, self._asked = step, True, len(self._rollouts)
        return [request.model_copy(update={"role": "canary"}) for request in requests]

    def _due(self, step: int, since: int) -> bool:
        full = len(self._rollouts) == self.size
        return step - since >= self.every or (full and not self._started)

    def read(self, answers: Sequence[Completion | Failure]) -> dict[str, float]:
        """Return the figures of a reading, from the answers in the order of the requests.

        `canary_readable`: the share of the set whose summary can be read. From the second reading
        of a rollout on, over those that can be: `canary_agreement`, the mean Jaccard index of the
        words of principles, pitfalls and thoughts with those of its first summary; `canary_own`,
        how often a summary is closest to the first one of its own rollout rather than to that of
        another one (equally close ones share the point). No figures where a budget ended before all
        was asked.

        Raises:
            InvalidInputError: nothing was asked, or the number of answers is not that of requests.
        """
        if not self._asked:
            raise InvalidInputError("the canary has asked nothing; call ask first")
        rollouts = self._rollouts[: self._asked]
        found = self.summarizer.read(rollouts, answers)
        self._asked = 0
        if any(isinstance(one, Failure) and one.reason.startswith(NOT_ASKED) for one in answers):
            return {}
        texts = {one.problem.id: _words(one) for one in found if isinstance(one, Experience)}
        again = {problem: text for problem, text in texts.items() if problem in self._first}
        figures = {"canary_readable": len(texts) / len(rollouts)}
        if again:
            likenesses = [likeness(text, self._first[problem]) for problem, text in again.items()]
            figures["canary_agreement"] = mean(likenesses)
        if again and len(self._first) > 1:
            figures["canary_own"] = mean([self._own(*item) for item in again.items()])
        self._first = {**texts, **self._first}
        return figures

    def _own(self, problem: str, text: Sequence[str]) -> float:
        scores = {other: likeness(text, first) for other, first in self._first.items()}
        best = max(scores.values())
        # Two rollouts may have been summarised alike from the beginning: either is the own one.
        own = self._first[problem]
        closest = [self._first[other] for other, score in scores.items() if score == best]
        return sum(first == own for first in closest) / len(closest)

    def state(self) -> dict[str, Any]:
        """Everything remembered, as JSON data."""
        return {
            "rollouts": [rollout.model_dump(mode="json") for rollout in self._rollouts],
            "first": {problem: list(text) for problem, text in self._first.items()},
            "since": self._since,
            "asked": self._asked,
            "started": self._started,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            InvalidInputError: it is not such a state.
        """
        if not is_state(state, set(self.state())):
            raise InvalidInputError("this is not the state of a canary; resume with its own")
        self._rollouts = [Rollout(**rollout) for rollout in state["rollouts"]]
        self._first = {problem: list(text) for problem, text in state["first"].items()}
        self._since, self._started = state["since"], state["started"]
        self._asked = state["asked"]


def _words(experience: Experience) -> list[str]:
    parts = (*experience.principles, *experience.pitfalls, experience.thoughts)
    return sorted(set(words(" ".join(parts))))
