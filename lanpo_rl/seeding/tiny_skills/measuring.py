"""What a seeded policy can do."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lanpo_rl.seeding.tiny_skills.constants import draw_hint
from lanpo_rl.tasks.base import Example, boxed_reward
from lanpo_rl.tasks.chains import make_chains
from lanpo_rl.tasks.hidden_constants import lesson_text, make_hidden_constants, solution_text
from lanpo_rl.tiny.policy import generate_texts
from lanpo_rl.tiny.prompts import as_check, as_hint, as_summary_request, as_user

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["measure_skills"]

_MAX_NEW_TOKENS = 28  # the longest text, a checked chain, has 20 tokens
_SOLUTION = re.compile(r"C(\d\d)\+(\d\d)=\\boxed\{(\d+)\}")

_Ask = Callable[..., list[str]]


def measure_skills(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int = 0, *, size: int = 320
) -> dict[str, float]:
    """Return the share of right answers for each skill, on up to `size` held-out problems a task.

    Greedy, but for the ``sampled`` ones (temperature 1). ``constants/irrelevant_form`` is the
    share of well-formed, well-added solutions under a hint on another family;
    ``chains/checked`` the accuracy after checking the own greedy attempts.
    """

    def ask(prompts: Sequence[str], temperature: float = 0.0) -> list[str]:
        return generate_texts(
            model,
            tokenizer,
            [as_user(prompt) for prompt in prompts],
            max_new_tokens=_MAX_NEW_TOKENS,
            temperature=temperature,
        )

    return {**_measure_constants(ask, seed, size), **_measure_chains(ask, seed, size)}


def _measure_constants(ask: _Ask, seed: int, size: int) -> dict[str, float]:
    task = make_hidden_constants(seed)
    rng = random.Random(f"measure {seed}")
    examples = task.held_out[:size]
    texts = [example.problem.text for example in examples]
    families = [example.problem.family or "" for example in examples]
    truths = [lesson_text(family, task.rule[family]) for family in families]
    hinted = [as_hint(truth) + text for truth, text in zip(truths, texts, strict=True)]
    noise = [as_hint(draw_hint(rng, but=family)) for family in families]
    noisy = [hint + text for hint, text in zip(noise, texts, strict=True)]
    second = [hint + text for hint, text in zip(noise, hinted, strict=True)]
    asked = [
        as_summary_request(example.problem.text, _right_solution(example, task.rule[family]))
        for example, family in zip(examples, families, strict=True)
    ]
    return {
        "constants/zero_shot": _accuracy(ask(texts), examples),
        "constants/sampled": _accuracy(ask(texts, 1.0), examples),
        "constants/true_hint": _accuracy(ask(hinted), examples),
        "constants/true_hint_sampled": _accuracy(ask(hinted, 1.0), examples),
        "constants/second_hint": _accuracy(ask(second), examples),
        "constants/irrelevant_form": _mean(map(_is_consistent, texts, ask(noisy))),
        "constants/summary": _mean(map(str.__eq__, ask(asked), truths)),
    }


def _right_solution(example: Example, constant: int) -> str:
    a, b = _operands(example.problem.text)
    return solution_text(a, b, constant)


def _operands(text: str) -> tuple[int, int]:
    return int(text[-3]), int(text[-1])


def _is_consistent(text: str, completion: str) -> bool:
    """Tell a solution that adds up, with whatever constant, from one that does not."""
    match = _SOLUTION.fullmatch(completion)
    if match is None:
        return False
    constant, partial_sum, answer = map(int, match.groups())
    return partial_sum == sum(_operands(text)) and answer == partial_sum + constant


def _measure_chains(ask: _Ask, seed: int, size: int) -> dict[str, float]:
    examples = make_chains(seed).held_out[:size]
    texts = [example.problem.text for example in examples]
    attempts = ask(texts)
    checks = [as_check(attempt) + text for attempt, text in zip(attempts, texts, strict=True)]
    return {
        "chains/zero_shot": _accuracy(attempts, examples),
        "chains/sampled": _accuracy(ask(texts, 1.0), examples),
        "chains/checked": _accuracy(ask(checks), examples),
    }


def _accuracy(completions: Sequence[str], examples: Sequence[Example]) -> float:
    return _mean(
        boxed_reward(completion, example.answer)
        for completion, example in zip(completions, examples, strict=True)
    )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
