"""Reward functions in TRL's form: lists in, one float per completion out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from lanpo_memory.errors import MissingExtraError
from lanpo_memory.parsing import boxed_answer
from lanpo_memory.protocols import Prompts

__all__ = ["RewardFunction", "SectionReward", "as_reward", "completion_text", "math_accuracy"]

RewardFunction = Callable[..., list[float]]


def completion_text(completion: Any) -> str:
    """Return a completion as text: a string, or the assistant messages joined."""
    if isinstance(completion, str):
        return completion
    parts = (
        m.get("content") or "" for m in completion if m.get("role", "assistant") == "assistant"
    )
    return "".join(p if isinstance(p, str) else "" for p in parts)


def math_accuracy(completions: Sequence[Any], answer: Sequence[Any], **_: Any) -> list[float]:
    r"""1.0 where the completion's final answer equals the reference, else 0.0.

    Numbers, fractions, sets, intervals and LaTeX are compared by math-verify; a completion without
    a final answer gets 0. On the main thread each comparison is bounded to a few seconds; on other
    threads it is not, because the bound is made with a signal.

    >>> math_accuracy([r"so \boxed{1/2}", "no idea"], ["0.5", "3"])
    [1.0, 0.0]
    """
    return [
        float(_equal(str(gold), completion_text(completion)))
        for completion, gold in zip(completions, answer, strict=True)
    ]


def _equal(gold: str, text: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise MissingExtraError("math-verify", "rl") from error
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    final = boxed_answer(text)  # of several boxes the last one is the answer
    parsed = parse(text if final is None else _boxed(final), parsing_timeout=limit)
    parsed_gold = parse(gold if "\\boxed" in gold else _boxed(gold), parsing_timeout=limit)
    return bool(verify(parsed_gold, parsed, timeout_seconds=limit))


def _boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def as_reward(score: Callable[[str, str], float], *, name: str = "reward") -> RewardFunction:
    """Turn a function of one completion and one answer into TRL's form.

    >>> as_reward(lambda text, answer: float(text == answer))(["a", "b"], ["a", "c"])
    [1.0, 0.0]
    """

    def reward(completions: Sequence[Any], answer: Sequence[Any], **_: Any) -> list[float]:
        pairs = zip(completions, answer, strict=True)
        return [score(completion_text(c), str(a)) for c, a in pairs]

    reward.__name__ = name
    return reward


class SectionReward:
    """A bonus for the section headers a guided completion must have; 0 for unguided ones.

    Reads the column ``lanpo_guidance`` (the guidance's kind), which `LanpoTrainer` adds.
    Source: arXiv 2510.16552 §4, +0.1 on rollouts with feedback only.
    """

    __name__ = "section_headers"

    def __init__(self, prompts: Prompts, *, bonus: float = 0.1) -> None:
        self._prompts, self.bonus = prompts, bonus

    def __call__(
        self, completions: Sequence[Any], lanpo_guidance: Sequence[Any], **kwargs: Any
    ) -> list[float]:
        """Return `bonus` where every required section is there."""
        return [
            self.bonus if self._complete(kind, completion_text(completion)) else 0.0
            for completion, kind in zip(completions, lanpo_guidance, strict=True)
        ]

    def _complete(self, kind: Any, text: str) -> bool:
        sections = self._prompts.sections(kind)
        return bool(sections) and all(any(h in text for h in either) for either in sections)
