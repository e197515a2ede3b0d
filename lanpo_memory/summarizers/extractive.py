r"""Experiences without a model: sentences copied out of the rollout, numbers masked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.parsing import boxed_answer
from lanpo_memory.summarizers._provenance import provenance
from lanpo_memory.types import Completion, Experience, Failure, Request, Rollout

__all__ = ["MASK", "ExtractiveSummarizer"]

MASK = "[n]"
"""What stands where a number stood."""

_MIN_WORDS = 3  # fewer words, numbers aside, are a heading or a bare formula
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|[\r\n]+")
_MARKED_ANSWER = re.compile(
    r"(?:####|^\s*\**(?:final\s+)?(?:answer|a)\**\s*[:=]|\banswer\s+(?:is|would\s+be)\b:?)(.*)",
    re.IGNORECASE,
)
_FINAL = re.compile(r"\\boxed\b|\bfinal\s+answer\b|\banswer\s*[:=]", re.IGNORECASE)
_DIGITS = re.compile(r"(?:(?<![\w)\]])[-−])?(?:(?<!\w)\.)?0+(?:[.,:/]0+)*")
_UNITS = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_TEENS = "thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_LARGE = "hundreds?|thousands?|millions?|billions?|trillions?|dozens?|scores?"
_PARTS = "half|halves|(?:third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth)s?"
_TIMES = "once|twice|thrice|double[ds]?|triple[ds]?|single|pairs?"
_WORD = f"(?:{_UNITS}|{_TEENS}|{_TENS}|{_LARGE}|{_PARTS}|{_TIMES})"
_NUMBER_WORDS = re.compile(rf"\b{_WORD}(?:(?:\s+and\s+|[-\s]+){_WORD})*\b", re.IGNORECASE)


class ExtractiveSummarizer:
    r"""A stand-in for looking at a pool without a model. It does not summarise anything.

    It is: the first sentences of each rollout, copied, with every number masked. A right rollout
    (`correct`, or a reward above 0 where `correct` is unknown) gives them as principles, a wrong
    one as pitfalls, an unjudged one as thoughts.
    It is not: an abstraction. It knows no strategy, it does not find the step that was wrong (each
    sentence of a wrong rollout becomes a pitfall, its right ones too), and what it writes is no
    evidence about the method. Use `LLMSummarizer` for anything that counts.

    The final answer is not carried: every number is masked, in digits and in English words; lines
    that announce an answer (``A:``, ``####``, ``\boxed``, "the answer is") are dropped, and what
    they announce is masked in all other lines. Only an answer in words that no line announces is
    not recognised. Calculator annotations such as ``<<16-3=13>>`` are removed.

    Args:
        max_sentences: most sentences taken from a rollout.
        max_chars: longest sentence; longer ones are cut at a blank.

    Raises:
        ConfigError: a limit is below 1.

    >>> from lanpo_memory.types import Problem, Rollout
    >>> text = "Count the four hens and add 3 = <<4+3=7>>7 ducks.\nA: 7"
    >>> rollouts = [Rollout(problem=Problem(text="Birds?"), completion=text, correct=True)]
    >>> ExtractiveSummarizer().read(rollouts, [])[0].principles
    ('Count the [n] hens and add [n] = [n] ducks.',)
    """

    def __init__(self, *, max_sentences: int = 4, max_chars: int = 240) -> None:
        if max_sentences < 1 or max_chars < 1:
            raise ConfigError("max_sentences and max_chars must be at least 1")
        self.max_sentences = max_sentences
        self.max_chars = max_chars

    def ask(
        self,
        rollouts: Sequence[Rollout],
    ) -> list[Request]:
        """Ask nothing: no model is used."""
        return []

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        """Return an experience or a failure for each rollout, in order.

        Raises:
            InvalidInputError: there are answers, though nothing was asked.
        """
        if answers:
            raise InvalidInputError(f"{len(answers)} answers, but nothing was asked")
        return [self._read_one(i, rollout) for i, rollout in enumerate(rollouts)]

    def _read_one(self, index: int, rollout: Rollout) -> Experience | Failure:
        text = rollout.completion
        if not text.strip():
            return Failure(reason="the rollout's completion is empty", rollouts=(index,))
        taken = tuple(self._sentences(text))
        if not taken:
            reason = "the completion has no sentence apart from its answer"
            return Failure(reason=reason, text=text, rollouts=(index,))
        right = rollout.succeeded
        return Experience(
            problem=rollout.problem,
            thoughts="\n".join(taken) if right is None else "",
            principles=taken if right is True else (),
            pitfalls=taken if right is False else (),
            metadata=provenance(rollout),
        )

    def _sentences(self, text: str) -> list[str]:
        bare = _CALCULATOR.sub("", text)
        answers = _answers(bare)
        masked = (_mask(line, answers) for line in _SENTENCE_END.split(bare) if _keeps(line))
        told = (line for line in masked if _words(line) >= _MIN_WORDS)
        distinct = list(dict.fromkeys(told))[: self.max_sentences]
        return [self._cut(line) for line in distinct]

    def _cut(self, line: str) -> str:
        if len(line) <= self.max_chars:
            return line
        return line[: self.max_chars].rpartition(" ")[0].strip() or line[: self.max_chars]


def _keeps(line: str) -> bool:
    return not (_MARKED_ANSWER.search(line) or _FINAL.search(line))


def _answers(text: str) -> list[str]:
    """Return the final answers that a text marks as such, longest first."""
    return sorted(set(_marked(text)), key=lambda answer: (-len(answer), answer))


def _marked(text: str) -> Iterator[str]:
    candidates = [match[1] for line in text.splitlines() if (match := _MARKED_ANSWER.search(line))]
    for candidate in [boxed_answer(text) or "", *candidates]:
        if answer := candidate.strip(" \t$*.:=\"'"):
            yield answer


def _mask(line: str, answers: Sequence[str]) -> str:
    """Mask the answers, then every number; a word counts as a number only on its own."""
    for answer in answers:
        # 13 must not match within 13.0: the rest would tell which number is the answer
        alone = rf"(?<![\w.,]){re.escape(answer)}(?!\w|[.,]\w)"
        line = re.sub(alone, MASK, line, flags=re.IGNORECASE)
    zeros = "".join("0" if char.isnumeric() else char for char in line)
    return " ".join(_NUMBER_WORDS.sub(MASK, _DIGITS.sub(MASK, zeros)).split())


def _words(line: str) -> int:
    return len(re.findall(r"[^\W\d_]{2,}", line.replace(MASK, " ")))
