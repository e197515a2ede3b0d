"""The accuracy of final answers, by math-verify with what it lacks around it."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Sequence
from typing import Any

from lanpo_memory.parsing import boxed_answer
from lanpo_rl.rewards.answers import final_answer, same_text
from lanpo_rl.rewards.functions import completion_text
from lanpo_rl.rewards.helper import compared_elsewhere
from lanpo_rl.rewards.mathematics import DEEPEST, LONGEST, Pair, compared

__all__ = ["math_accuracy"]


def math_accuracy(completions: Sequence[Any], answer: Sequence[Any], **_: Any) -> list[float]:
    r"""1.0 where the completion's final answer equals the reference, else 0.0.

    Numbers, fractions, sets, intervals and LaTeX are compared by math-verify; words and letters of
    a choice as text. The answer is what stands in the last closed box that is not empty. Without
    any box a number, a formula or "the answer is ..." at the end of the text counts. NaN (not
    scored) where the reference is missing or empty.

    Every comparison is bounded: to a few seconds, and by size before that. On the main thread the
    bound is a signal; a SIGALRM handler and a timer of yours are put back, the timer at most these
    seconds late. On any other thread a helper process compares, started at the first need.

    >>> math_accuracy([r"so \boxed{1/2}", "no idea", r"\boxed{B}"], ["0.5", "3", "(B)"])
    [1.0, 0.0, 1.0]
    """
    pairs = [
        _pair("" if gold is None else str(gold), completion_text(completion))
        for completion, gold in zip(completions, answer, strict=True)
    ]
    asked = list(dict.fromkeys(pair for pair in pairs if isinstance(pair, tuple)))
    here = not _alarms() or threading.current_thread() is threading.main_thread()
    found = dict(zip(asked, (compared if here else compared_elsewhere)(asked), strict=True))
    return [float(found[pair]) if isinstance(pair, tuple) else pair for pair in pairs]


def _alarms() -> bool:
    """Whether math-verify bounds its work with signals; elsewhere it does so with processes."""
    return hasattr(signal, "SIGALRM")


def _pair(gold: str, text: str) -> float | Pair:
    """The verdict, where the text tells, or what math-verify is to compare."""
    gold = boxed_answer(gold) or gold
    if not gold.strip():
        return math.nan
    answer, boxed = final_answer(text)
    if not answer.strip():
        return 0.0
    same = same_text(gold, answer, boxed=boxed)
    if same is not None:
        return float(same)
    if not all(_manageable(side) for side in (gold, answer)):
        return 0.0
    return gold, answer, boxed


def _manageable(answer: str) -> bool:
    """Whether it is short and shallow enough to be read as mathematics."""
    depth = deepest = 0
    for character in answer:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return len(answer) <= LONGEST and deepest <= DEEPEST
