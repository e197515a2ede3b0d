"""The conformance kit of reflectors."""

from __future__ import annotations

from typing import ClassVar

from lanpo_memory.protocols import Reflector
from lanpo_memory.testing.conformance.samples import any_text
from lanpo_memory.types import Attempt, Guidance, Problem

__all__ = ["ReflectorConformance"]

SECRET = "nobody-shows-this"


def _attempts() -> list[Attempt]:
    return [
        Attempt(
            problem=Problem(text=f"How much is {n} + 2?", family=SECRET, metadata={"note": SECRET}),
            text=f"I count on from {n} and find {n + 3}.",
            step=n,
            policy=SECRET,
        )
        for n in range(3)
    ]


class ReflectorConformance:
    """All that `Reflector` says, as tests; subclass it and say `reflector`.

    `SHOWS_ATTEMPT` is false for a reflector whose guidance does not repeat the attempt. That no
    reward gets in needs no test: an `Attempt` has none.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> from lanpo_memory.reflectors import InRolloutReflector
    >>> class TestInRollout(ReflectorConformance):
    ...     def reflector(self) -> Reflector:
    ...         return InRolloutReflector(EnglishPrompts())
    """

    SHOWS_ATTEMPT: ClassVar[bool] = True

    def reflector(self) -> Reflector:
        """A reflector."""
        raise NotImplementedError(f"{type(self).__name__} has to say how a reflector is made")

    def _reflect(self, attempts: list[Attempt]) -> list[Guidance]:
        found = self.reflector().reflect(attempts)
        assert len(found) == len(attempts), "one guidance for each attempt"
        for attempt, guidance in zip(attempts, found, strict=True):
            assert guidance.kind == "intra", f"kind is `intra`, not {guidance.kind!r}"
            assert guidance.attempt == attempt, "guidance keeps its attempt, in the same order"
            assert guidance.text.strip(), "there is always guidance, also if a model fails"
            assert not guidance.experience_ids, "no experience of the pool is behind it"
        return found

    def test_each_attempt_gets_one_guidance_in_order(self) -> None:
        found = self._reflect(_attempts())
        assert len({guidance.text for guidance in found}) == len(found)
        if self.SHOWS_ATTEMPT:
            for guidance in found:
                assert guidance.attempt is not None
                assert guidance.attempt.text in guidance.text, "the attempt is not shown"

    def test_no_attempts_get_no_guidance(self) -> None:
        assert self.reflector().reflect([]) == []

    def test_the_same_attempts_get_the_same_guidance(self) -> None:
        attempts = [*_attempts(), _attempts()[0]]
        assert self._reflect(attempts) == self._reflect(attempts)
        assert attempts == [*_attempts(), _attempts()[0]], "what it is handed stays as it was"

    def test_one_alone_is_answered_as_among_others(self) -> None:
        together = self._reflect(_attempts())
        assert [self._reflect([attempt])[0] for attempt in _attempts()] == together

    def test_names_steps_and_metadata_are_never_shown(self) -> None:
        attempts = _attempts()
        elsewhere = [
            a._with(step=77, policy="other", problem=a.problem._with(family=None, metadata={}))
            for a in attempts
        ]
        texts = [guidance.text for guidance in self._reflect(attempts)]
        assert texts == [guidance.text for guidance in self._reflect(elsewhere)], (
            "step, policy, family or metadata change the guidance"
        )
        assert SECRET not in "".join(texts)

    def test_guidance_fits_both_kinds_of_prompts(self) -> None:
        for guidance in self._reflect(_attempts()):
            assert guidance.apply("the problem").endswith("the problem")
            messages = [{"role": "user", "content": "the problem"}]
            assert guidance.apply(messages)[0]["content"].endswith("the problem")

    @any_text
    def test_any_text_is_reflected_upon(self, text: str) -> None:
        odd = Problem(text=text)
        self._reflect([Attempt(problem=odd, text=text), *_attempts()])
