"""Experiences from a whole group: what right rollouts did that wrong ones did not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from lanpo_memory.errors import positive
from lanpo_memory.protocols import ContrastPrompts
from lanpo_memory.summarizers._provenance import provenance
from lanpo_memory.summarizers.reading import (
    Check,
    check_for,
    checked,
    matched,
    read_answer,
)
from lanpo_memory.types import Completion, Experience, Failure, Request, Rollout

__all__ = ["ContrastiveSummarizer"]


class _Group(NamedTuple):
    """Indices of rollouts: all of a group, and those that are shown."""

    members: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def shown(self) -> tuple[int, ...]:
        return (*self.right, *self.wrong)


class ContrastiveSummarizer:
    """Asks for one summary of each group that has right and wrong rollouts.

    A group is the rollouts of one problem with the same `Rollout.group`; rollouts of one problem
    without a group are one. Every group gets one result: without both outcomes it is a `Failure`
    with status ``rejected`` that says which is missing, and nothing is asked. Unjudged rollouts
    (neither a verdict nor a reward) and empty ones are left out.

    The prompt says which completions are right: that split is the outcome, and all of it that is
    shown. It sees no reward and no reference answer. An adapter must admit whole groups: one that
    admits only right rollouts leaves nothing to contrast.

    Args:
        prompts: how to ask and how to read.
        max_tokens: longest summary.
        right: how many right completions are shown at most, the first distinct ones.
        wrong: how many wrong ones.
        max_chars: longer completions are left out, never cut; `None` shows any.
        check: refuses summaries that teach nothing; see `LLMSummarizer`.

    Raises:
        ConfigError: a limit below 1, or the check is none.

    Source: group-contrastive extraction as in Training-Free GRPO, arXiv 2510.08191.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.types import Problem
    >>> group = [Rollout(problem=Problem(text="2 + 3?"), completion=text, correct=text == "5")
    ...          for text in ("6", "5")]
    >>> summarizer = ContrastiveSummarizer(prompts=EnglishPrompts())
    >>> [request.rollouts for request in summarizer.ask(group)]
    [(1, 0)]
    >>> summarizer.read(group[:1], [])[0].reason
    'nothing to contrast: no right rollout; 0 right, 1 wrong, 0 left out as unjudged, ...'
    """

    def __init__(
        self,
        *,
        prompts: ContrastPrompts,
        max_tokens: int = 2048,
        right: int = 1,
        wrong: int = 1,
        max_chars: int | None = None,
        check: Check = "default",
    ) -> None:
        for name, value in (("max_tokens", max_tokens), ("right", right), ("wrong", wrong)):
            positive(name, value)
        positive("max_chars", max_chars)
        self.prompts = prompts
        self.max_tokens = max_tokens
        self.right, self.wrong, self.max_chars = right, wrong, max_chars
        self.check = check_for(prompts, check)

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        """Return one request for each group with both outcomes; it names the rollouts shown."""
        return [
            Request(
                role="summarise",
                conversation=self.prompts.contrast(
                    rollouts[group.members[0]].problem,
                    [rollouts[i].completion for i in group.right],
                    [rollouts[i].completion for i in group.wrong],
                ),
                rollouts=group.shown,
                max_tokens=self.max_tokens,
            )
            for group in self._groups(rollouts)
            if group.right and group.wrong
        ]

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        """Return an experience or a failure for each group, in order of first appearance.

        Raises:
            InvalidInputError: the number of answers is not that of the requests.
        """
        groups = self._groups(rollouts)
        matched(answers, sum(bool(group.right and group.wrong) for group in groups))
        waiting = iter(answers)
        return [
            self._read_one(rollouts, group, next(waiting))
            if group.right and group.wrong
            else self._rejected(rollouts, group)
            for group in groups
        ]

    def _read_one(
        self, rollouts: Sequence[Rollout], group: _Group, answer: Completion | Failure
    ) -> Experience | Failure:
        shown = [rollouts[i] for i in group.shown]
        read = read_answer(
            self.prompts, shown[0].problem, answer, provenance(*shown), rollouts=group.shown
        )
        completions = [rollout.completion for rollout in shown]
        return checked(read, answer, completions, self.check, rollouts=group.shown)

    def _rejected(self, rollouts: Sequence[Rollout], group: _Group) -> Failure:
        outcomes = Counter(
            rollouts[i].succeeded for i in group.members if self._usable(rollouts[i])
        )
        right, wrong = outcomes[True], outcomes[False]
        missing = " and no ".join(name for name, n in (("right", right), ("wrong", wrong)) if not n)
        return Failure(
            status="rejected",
            reason=f"nothing to contrast: no {missing} rollout; {right} right, {wrong} wrong, "
            f"{len(group.members) - right - wrong} left out as unjudged, empty or too long",
            rollouts=group.members,
        )

    def _groups(self, rollouts: Sequence[Rollout]) -> list[_Group]:
        members: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
        for i, rollout in enumerate(rollouts):
            members[rollout.problem.id, rollout.group].append(i)
        return [self._group(rollouts, indices) for indices in members.values()]

    def _group(self, rollouts: Sequence[Rollout], members: Sequence[int]) -> _Group:
        usable = [i for i in members if self._usable(rollouts[i])]

        def first(n: int, succeeded: bool) -> tuple[int, ...]:
            texts: dict[str, int] = {}
            for i in usable:
                if rollouts[i].succeeded is succeeded:
                    texts.setdefault(rollouts[i].completion.strip(), i)
            return tuple(texts.values())[:n]

        return _Group(tuple(members), first(self.right, True), first(self.wrong, False))

    def _usable(self, rollout: Rollout) -> bool:
        if not rollout.completion.strip():
            return False
        return self.max_chars is None or len(rollout.completion) <= self.max_chars
