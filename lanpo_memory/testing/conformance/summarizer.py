"""The conformance kit of summarizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import Summarizer
from lanpo_memory.testing.conformance.samples import ODD_TEXTS, completions
from lanpo_memory.types import Completion, Experience, Failure, Problem, Request, Rollout

__all__ = ["SummarizerConformance"]

SECRET = "family-nobody-shows"
GARBAGE = (
    "", " \n", "{", "null", "[]", "[[[[", '{"principles": 3}', '{"principles": [null, {}]}',
    "I cannot help with that.", "<think>never ends", "\0\ud800", "```json\n```", "{}" * 500,
    "[" * 5_000, *ODD_TEXTS.values(),
)  # fmt: skip


def _rollouts(scale: float = 1.0) -> list[Rollout]:
    """Three problems, a right and a wrong rollout of each; rewards are +-`scale`."""
    return [
        Rollout(
            problem=Problem(text=f"How many are {n} boxes of {n + 2}?", family=SECRET),
            completion=f"First I look at the boxes, way {i}. Then I multiply them, as one does.",
            reward=scale if i else -scale,
            step=3,
            policy=SECRET,
            group=f"{SECRET} {n}",
        )
        for n in range(3)
        for i in range(2)
    ]


class SummarizerConformance:
    """All that `Summarizer` says, as tests; subclass it and say `summarizer`.

    `answer` is what a model that does as it was told would say, holding the words it is given.
    `OUTCOME_BLIND` is false for a summarizer that shows which rollouts were right: then only the
    size of rewards has to leave the question as it is.

    >>> from lanpo_memory.summarizers import ExtractiveSummarizer
    >>> class TestExtractive(SummarizerConformance):
    ...     def summarizer(self) -> Summarizer:
    ...         return ExtractiveSummarizer()
    """

    OUTCOME_BLIND: ClassVar[bool] = True

    def summarizer(self) -> Summarizer:
        """A summarizer."""
        raise NotImplementedError(f"{type(self).__name__} has to say how a summarizer is made")

    def answer(self, words: str) -> str:
        """A good answer to any request, with these words in its lesson."""
        return json.dumps({"thoughts": "", "principles": [words], "pitfalls": []})

    def test_the_same_rollouts_are_asked_about_in_the_same_way(self) -> None:
        one, other = self.summarizer(), self.summarizer()
        asked = one.ask(_rollouts())
        assert asked == one.ask(_rollouts()) == other.ask(_rollouts()), "`ask` is deterministic"
        assert other.ask([]) == []
        assert other.read([], []) == []

    def test_a_request_names_its_rollouts_and_can_be_answered(self) -> None:
        rollouts = _rollouts()
        for request in self.summarizer().ask(rollouts):
            assert isinstance(request, Request)
            assert request.role, "the role says what tokens were spent on"
            assert request.conversation, "a request holds a conversation"
            assert all({"role", "content"} <= message.keys() for message in request.conversation)
            assert request.rollouts, "a request names the rollouts it is about"
            assert all(0 <= index < len(rollouts) for index in request.rollouts)
            assert len(set(request.rollouts)) == len(request.rollouts)

    def test_rewards_leave_the_question_as_it_is(self) -> None:
        def conversations(rollouts: Sequence[Rollout]) -> list[object]:
            return [request.conversation for request in self.summarizer().ask(rollouts)]

        before = conversations(_rollouts())
        assert conversations(_rollouts(scale=0.123456789)) == before, (
            "the size of a reward changes what a model is asked"
        )
        if self.OUTCOME_BLIND:
            unjudged = [r._with(reward=None, correct=None) for r in _rollouts()]
            flipped = [r._with(reward=-(r.reward or 0.0)) for r in _rollouts()]
            assert conversations(unjudged) == conversations(flipped) == before, (
                "outcomes change what a model is asked: it can read the verdict off (OUTCOME_BLIND)"
            )

    def test_names_and_metadata_are_never_shown(self) -> None:
        asked = json.dumps([r.conversation for r in self.summarizer().ask(_rollouts())])
        assert SECRET not in asked, "family, policy or group are in a prompt"

    def test_answers_are_read_in_the_order_of_the_requests(self) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        requests = summarizer.ask(rollouts)
        names = [f"Count what word{i * 7}x holds before the rest." for i in range(len(requests))]
        answers = [Completion(text=self.answer(name)) for name in names]
        read = summarizer.read(rollouts, answers)
        assert len(read) >= len(requests), "each answer becomes an experience or a failure"
        lessons = [item for item in read if isinstance(item, Experience)]
        assert lessons, f"not one good answer was understood: {read[:1]}; is `answer` right?"
        seen = []
        for lesson in lessons:
            told = json.dumps([lesson.thoughts, lesson.principles, lesson.pitfalls])
            for place in (i for i, name in enumerate(names) if name in told):
                problems = {rollouts[i].problem.id for i in requests[place].rollouts}
                assert lesson.problem.id in problems, "an answer went to another problem"
                seen.append(place)
        assert seen == sorted(set(seen)), "answers were read out of order, or twice"
        assert len(seen) == len(requests), "an answer was lost"

    def test_an_experience_says_where_it_comes_from(self) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        good = [
            Completion(text=self.answer(f"Count word{i} first, then go on."))
            for i in range(len(summarizer.ask(rollouts)))
        ]
        for item in summarizer.read(rollouts, good):
            if isinstance(item, Experience):
                assert item.metadata.step == 3, "`metadata.step` is the rollout's"
                assert item.problem in [rollout.problem for rollout in rollouts]

    def test_an_answer_that_failed_is_a_failure(self) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        requests = summarizer.ask(rollouts)
        if not requests:
            return
        read = summarizer.read(rollouts, [Failure(reason="busy")] * len(requests))
        assert len(read) >= len(requests), "a failure is data: an empty list never means failure"
        for item in read:
            assert isinstance(item, Failure), "a lesson was made of a failed call"
            assert all(0 <= index < len(rollouts) for index in item.rollouts)
        assert any("busy" in item.reason for item in read if isinstance(item, Failure)), (
            "the reason of a failed call is kept"
        )

    @pytest.mark.parametrize(
        "text", GARBAGE, ids=lambda text: ascii(text[:16])[1:-1].replace("\\", "")
    )
    def test_an_answer_of_any_kind_is_read_without_raising(self, text: str) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        requests = summarizer.ask(rollouts)
        for truncated in (False, True):
            answers = [Completion(text=text, truncated=truncated)] * len(requests)
            read = summarizer.read(rollouts, answers)
            assert len(read) >= len(requests), "an answer that cannot be read vanished"
            assert all(isinstance(item, Experience | Failure) for item in read)
            assert all(item.reason for item in read if isinstance(item, Failure))

    @completions
    def test_a_completion_of_any_kind_is_asked_about_without_raising(self, text: str) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        rollouts[2] = rollouts[2]._with(completion=text)
        answers = [Completion(text=self.answer("Look twice."))] * len(summarizer.ask(rollouts))
        read = summarizer.read(rollouts, answers)
        assert read, "rollouts came in, nothing came out: an empty list never means failure"
        assert all(isinstance(item, Experience | Failure) for item in read)

    def test_too_few_answers_or_too_many_are_refused(self) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        wrong = len(summarizer.ask(rollouts)) + 1
        with pytest.raises(InvalidInputError):
            summarizer.read(rollouts, [Completion(text="x")] * wrong)

    def test_what_it_is_handed_stays_as_it_was(self) -> None:
        rollouts, summarizer = _rollouts(), self.summarizer()
        answers: list[Completion | Failure] = [Completion(text=self.answer("Look twice."))] * len(
            summarizer.ask(rollouts)
        )
        kept = list(answers)
        first = summarizer.read(rollouts, answers)
        assert rollouts == _rollouts()
        assert answers == kept
        assert summarizer.read(rollouts, answers) == first, "`read` gives the same again"
