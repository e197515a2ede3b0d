"""Is a summary a lesson, or a copy of what it was made from?"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lanpo_memory.errors import ConfigError
from lanpo_memory.texts import numbers
from lanpo_memory.types import Experience, Problem

__all__ = ["CopyCheck", "SummaryCheck", "copied_share", "number_share"]

SummaryCheck = Callable[[Problem, Sequence[str], Experience], str | None]
"""Says why the summary of these completions is refused, or `None` where it is not."""

_RUN = 4  # words in a row that two texts share by copying rather than by chance
_NUMBER = "#"
_LEAST_NUMBERS = 2  # one number in common may be anything: a half, a percentage, a dozen
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s+", re.MULTILINE)
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,/:]\d+)*|\[n\]")


def copied_share(text: str, sources: Sequence[str]) -> float:
    """Return the share of a text's words that stand, four or more in a row, in the sources.

    Numbers count as one and the same word or, if that shows more, not at all: a copy with other
    numbers, or without any, is a copy. Case, punctuation and white space play no part.

    >>> copied_share("Add 3 and 4, then divide by 2.", ["First add 5 and 6. Then divide."])
    0.8
    """
    masked = [_words(each) for each in (text, *sources)]
    bare = [[word for word in words if word != _NUMBER] for words in masked]
    return max(_share(of, within) for of, *within in (masked, bare))


def number_share(text: str, problem: str) -> float:
    """Return the share of a problem's distinct numbers that a text repeats.

    Less than two repeated numbers count as none. The numbers of a list do not count.

    >>> number_share("1. From 16 eggs I take 3.", "16 eggs a day, 3 eaten, $2 each, 30 days?")
    0.5
    """
    given = set(numbers(problem))
    repeated = given & set(numbers(_LIST_MARK.sub("", text)))
    return len(repeated) / len(given) if len(repeated) >= _LEAST_NUMBERS else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyCheck:
    """Refuses summaries that merely copy the solution or restate the problem's numbers.

    The limits lie in a wide gap. On GSM8K, general lessons written by hand have a copied share of
    0.15 at most against any real rollout, and repeat no two numbers of their problem; over 99.9 %
    of rollouts copied as they are or with masked numbers, and all light rewordings of them, have a
    copied share above 0.4; 26 of 27 retellings in other words a number share above 0.5.

    Args:
        max_copied: largest `copied_share` that passes; 1 turns this part off.
        max_numbers: largest `number_share` that passes; 1 turns this part off.

    Raises:
        ConfigError: a share outside 0..1.

    >>> problem = Problem(text="She has 16 eggs and eats 3. How many are left?")
    >>> told = Experience(problem=problem, thoughts="With 16 eggs, of which 3 go, I subtract.")
    >>> CopyCheck()(problem, ["16 - 3 = 13"], told)
    "number share 1.00 > 0.50: the summary repeats the problem's numbers"
    """

    max_copied: float = 0.4
    max_numbers: float = 0.5

    def __post_init__(self) -> None:
        for name in ("max_copied", "max_numbers"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")

    def __call__(
        self, problem: Problem, completions: Sequence[str], summary: Experience
    ) -> str | None:
        """Return the share that is too large and its limit, or `None` for a summary that passes."""
        text = "\n".join([summary.thoughts, *summary.principles, *summary.pitfalls])
        copied = copied_share(text, [problem.text, *completions])
        if copied > self.max_copied:
            return _reason("copied", copied, self.max_copied, "copies the problem or the attempt")
        repeated = number_share(text, problem.text)
        if repeated > self.max_numbers:
            return _reason("number", repeated, self.max_numbers, "repeats the problem's numbers")
        return None


def _reason(name: str, share: float, limit: float, what: str) -> str:
    shown = math.ceil(share * 100) / 100  # never shown as equal to its limit
    return f"{name} share {shown:.2f} > {limit:.2f}: the summary {what}"


def _words(text: str) -> list[str]:
    """The words of a text in lower case, numbers in a row as one ``#``."""
    found: list[str] = []
    for token in _TOKEN.findall(_CALCULATOR.sub("", text).lower()):
        word = token if token[0].isalpha() else _NUMBER
        if word != _NUMBER or found[-1:] != [_NUMBER]:
            found.append(word)
    return found


def _share(words: Sequence[str], sources: Sequence[Sequence[str]]) -> float:
    runs = {run for source in sources for run in _runs(source)}
    copied: set[int] = set()
    for start, run in enumerate(_runs(words)):
        if run in runs:
            copied.update(range(start, start + _RUN))
    return len(copied) / len(words) if words else 0.0


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]
