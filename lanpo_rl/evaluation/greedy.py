"""What a policy can do with and without memory, on problems it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import Guide, Inter
from lanpo_memory.protocols import Prompts
from lanpo_rl.tasks import Example
from lanpo_rl.tiny.policy import generate_texts

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Shares in 0..1 over `n` problems.

    `guided`: problems for which the memory had something to show; `right_family`: of those, how
    often the first experience came from the problem's own family (`None` without any); `texts`: the
    answers, in order.
    """

    n: int
    accuracy: float
    guided: float = 0.0
    right_family: float | None = None
    texts: tuple[str, ...] = field(default=(), compare=False, repr=False)


def evaluate(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    prompts: Prompts,
    score: Callable[[str, str], float],
    guide: Guide | None = None,
    max_new_tokens: int = 24,
) -> Evaluation:
    """Answer each problem greedily, bare or with the best guidance of a pool, and score it.

    The pool is only read, through the same path as in training. Problems it has experiences of are
    refused: that would measure recall.

    Raises:
        ConfigError: no problems, or the pool holds experiences made from one of them.
    """
    if not examples:
        raise ConfigError("there are no problems to evaluate on")
    problems = [e.problem for e in examples]
    found: list[Inter] = []
    if guide is not None:
        known = guide.pool.store.read("experience", problems=[p.id for p in problems])
        if known:
            raise ConfigError(
                f"the pool holds {len(known)} experiences made from evaluation problems, "
                f"{known[0].problem.id!r} for one; evaluate on problems the pool has not seen"
            )
        found = guide.inter(problems)
    conversations = [prompts.solve(p) for p in problems]
    if found:
        conversations = [
            inter.guidance.apply(conversation)
            for inter, conversation in zip(found, conversations, strict=True)
        ]
    texts = generate_texts(model, tokenizer, conversations, max_new_tokens=max_new_tokens)
    scores = [score(text, e.answer) for text, e in zip(texts, examples, strict=True)]
    firsts = [
        inter.used[0].retrieved.experience.problem.family == e.problem.family
        for inter, e in zip(found, examples, strict=bool(found))
        if inter.used and e.problem.family is not None
    ]
    return Evaluation(
        n=len(examples),
        accuracy=sum(scores) / len(scores),
        guided=sum(bool(inter.used) for inter in found) / len(examples),
        right_family=sum(firsts) / len(firsts) if firsts else None,
        texts=tuple(texts),
    )
