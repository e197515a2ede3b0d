"""Supervised seeding: how the tiny policy learns to read and write its own feedback.

The aim is literacy, not accuracy (arXiv 2510.16552 §4): summarise a rollout, use hints from other
problems, check an earlier attempt. The examples come from templates. Names meet a new constant in
each example, so the seeded policy knows no family's constant; of the arithmetic facts it believes
some wrongly, more of them when it solves than when it checks.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lanpo_memory.types import Messages
from lanpo_rl.tasks import chains as chain_task
from lanpo_rl.tasks import hidden_constants as constant_task
from lanpo_rl.tasks.base import Example, boxed_reward
from lanpo_rl.tiny.alphabet import CONSTANTS, NAMES, OPERATORS
from lanpo_rl.tiny.policy import generate_texts
from lanpo_rl.tiny.prompts import as_check, as_hint, as_summary_request, as_user

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

__all__ = [
    "STEPS",
    "Lesson",
    "Progress",
    "Skill",
    "draw_lessons",
    "measure_skills",
    "seed_tiny_policy",
]

Skill = Literal["solve", "inter", "summarise", "intra"]
Progress = Callable[[int, float], None]
"""Called with the step (1-based) and its loss."""

STEPS = 2000
"""Steps that made the shipped weights."""

MISTAKEN = 0.40
"""Share of facts that the solver believes wrongly."""
SLIP = 0.07
"""How often the solver gets such a fact right all the same."""
BLIND = 0.35
"""Share of those facts that the check gets wrong too."""
_CHECK_RIGHT, _BLIND_RIGHT = 0.90, 0.15  # how often the check gets a fact of either kind right


@dataclass(frozen=True)
class Lesson:
    """One supervised example: what is asked, and the completion to learn."""

    skill: Skill
    prompt: str
    completion: str

    @property
    def messages(self) -> Messages:
        """The prompt as a conversation."""
        return as_user(self.prompt)


def draw_lessons(count: int, rng: random.Random) -> list[Lesson]:
    """Draw examples of all skills on both tasks."""
    kinds, weights = zip(*_MIXTURE, strict=True)
    return [draw(rng) for draw in rng.choices(kinds, weights, k=count)]


# --- hidden constants -------------------------------------------------------------------------


def _draw_solve(rng: random.Random) -> Lesson:
    name, a, b, constant = _draw_sum(rng)
    text = constant_task.problem_text(name, a, b)
    return Lesson("solve", text, constant_task.solution_text(a, b, constant))


def _draw_relevant(rng: random.Random) -> Lesson:
    """A hint that names the family; now and then another one beside it."""
    name, a, b, constant = _draw_sum(rng)
    hints = [constant_task.lesson_text(name, constant)]
    if rng.random() < 0.1:
        hints.insert(rng.randint(0, 1), _draw_hint(rng, but=name))
    return _hinted(hints, name, a, b, constant)


def _draw_irrelevant(rng: random.Random) -> Lesson:
    """A hint that names another family says nothing."""
    name, a, b, constant = _draw_sum(rng)
    return _hinted([_draw_hint(rng, but=name)], name, a, b, constant)


def _draw_summary(rng: random.Random) -> Lesson:
    name, a, b, constant = _draw_sum(rng)
    problem = constant_task.problem_text(name, a, b)
    asked = as_summary_request(problem, constant_task.solution_text(a, b, constant))
    return Lesson("summarise", asked, constant_task.lesson_text(name, constant))


def _draw_sum(rng: random.Random) -> tuple[str, int, int, int]:
    return rng.choice(NAMES), rng.randrange(10), rng.randrange(10), rng.randrange(CONSTANTS)


def _draw_hint(rng: random.Random, *, but: str) -> str:
    name = rng.choice([n for n in NAMES if n != but])
    return constant_task.lesson_text(name, rng.randrange(CONSTANTS))


def _hinted(hints: Sequence[str], name: str, a: int, b: int, constant: int) -> Lesson:
    prompt = "".join(map(as_hint, hints)) + constant_task.problem_text(name, a, b)
    return Lesson("inter", prompt, constant_task.solution_text(a, b, constant))


# --- chains -----------------------------------------------------------------------------------

_Fact = tuple[str, int]


def _make_beliefs() -> tuple[dict[_Fact, int], frozenset[_Fact]]:
    """Return the facts that are believed wrongly, and those of them that the check misses too."""
    rng = random.Random("what the tiny policy believes")
    facts = [(operator, digit) for operator in OPERATORS for digit in range(10)]
    wrong = {
        fact: rng.choice([d for d in range(10) if d != chain_task.apply_operator(*fact)])
        for fact in rng.sample(facts, round(MISTAKEN * len(facts)))
    }
    return wrong, frozenset(rng.sample(sorted(wrong), round(BLIND * len(wrong))))


_WRONG, _BLIND_SPOTS = _make_beliefs()


def _solver_belief(rng: random.Random, operator: str, digit: int) -> int:
    return _believed(rng, (operator, digit), SLIP)


def _checker_belief(rng: random.Random, operator: str, digit: int) -> int:
    fact = (operator, digit)
    return _believed(rng, fact, _BLIND_RIGHT if fact in _BLIND_SPOTS else _CHECK_RIGHT)


def _believed(rng: random.Random, fact: _Fact, chance: float) -> int:
    truth = chain_task.apply_operator(*fact)
    return truth if fact not in _WRONG or rng.random() < chance else _WRONG[fact]


def _draw_chain_solve(rng: random.Random) -> Lesson:
    chain = chain_task.draw_chain(rng)
    steps = chain_task.walk(chain, partial(_solver_belief, rng))
    return Lesson("solve", chain_task.chain_text(chain), chain_task.steps_text(steps))


def _draw_chain_check(rng: random.Random) -> Lesson:
    """Mostly an attempt on the same chain; sometimes on another, which is checked all the same."""
    chain = chain_task.draw_chain(rng)
    tried = chain if rng.random() < 0.9 else chain_task.draw_chain(rng)
    attempt = chain_task.walk(tried, partial(_solver_belief, rng))
    steps = chain_task.walk(chain, partial(_checker_belief, rng))
    prompt = as_check(chain_task.steps_text(attempt)) + chain_task.chain_text(chain)
    return Lesson("intra", prompt, chain_task.marked_text(steps, attempt))


# Whether a hint names the problem's family is learned late and all at once. More noise among the
# hints, or an answer to be copied from the prompt as a further skill, delayed it past these steps.
_MIXTURE: tuple[tuple[Callable[[random.Random], Lesson], float], ...] = (
    (_draw_solve, 0.08),
    (_draw_relevant, 0.34),
    (_draw_irrelevant, 0.06),
    (_draw_summary, 0.17),
    (_draw_chain_solve, 0.15),
    (_draw_chain_check, 0.20),
)


# --- training ---------------------------------------------------------------------------------


def seed_tiny_policy(
    *,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = 80,
    learning_rate: float = 2e-3,
    progress: Progress | None = None,
) -> Qwen2ForCausalLM:
    """Train a tiny policy from nothing, on one CPU thread, on the completions only.

    The same arguments give the same policy on the same machine.
    """
    import torch

    from lanpo_rl.tiny.model import build_model
    from lanpo_rl.tiny.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed=seed)
    rng = random.Random(f"seeding {seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_cosine, steps))
    model.train()
    with _one_thread():
        for step in range(1, steps + 1):
            lessons = draw_lessons(batch_size, rng)
            loss = _accumulate(model, tokenizer, lessons)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if progress is not None:
                progress(step, loss)
    model.train(mode=False)
    return model


def _cosine(steps: int, step: int) -> float:
    warmup = min(1.0, (step + 1) / 50)
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Kernels this small lose more by sharing than they gain."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _accumulate(model: Any, tokenizer: Any, lessons: Sequence[Lesson], parts: int = 4) -> float:
    """Add up the gradients of the mean loss of a completion token; return that loss.

    Lessons of like length go together, for padding would cost as much as text.
    """
    encoded = sorted(_encode(tokenizer, lessons), key=lambda pair: len(pair[0]) + len(pair[1]))
    tokens = sum(len(completion) for _, completion in encoded)
    size = math.ceil(len(encoded) / parts)
    total = 0.0
    for start in range(0, len(encoded), size):
        loss: Any = (
            _summed_loss(model, encoded[start : start + size], tokenizer.pad_token_id) / tokens
        )
        loss.backward()
        total += loss.item()
    return total


def _encode(tokenizer: Any, lessons: Sequence[Lesson]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer.apply_chat_template(
        [lesson.messages for lesson in lessons], tokenize=False, add_generation_prompt=True
    )
    completions = [lesson.completion + tokenizer.eos_token for lesson in lessons]
    ids = [tokenizer(texts, add_special_tokens=False).input_ids for texts in (prompts, completions)]
    return list(zip(*ids, strict=True))


def _summed_loss(
    model: Any, encoded: Sequence[tuple[list[int], list[int]]], pad: int
) -> torch.Tensor:
    """Return the summed loss of the completion tokens; rows are padded on the right.

    Causal attention never looks at padding behind the text, so no mask is needed.
    """
    import torch
    from torch.nn.functional import cross_entropy

    length = max(len(prompt) + len(completion) for prompt, completion in encoded)
    ids = torch.full((len(encoded), length), pad)
    labels = torch.full((len(encoded), length), -100)
    for row, (prompt, completion) in enumerate(encoded):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : end] = ids[row, len(prompt) : end]
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


# --- measuring --------------------------------------------------------------------------------

_MAX_NEW_TOKENS = 28  # the longest text, a checked chain, has 20 tokens
_SOLUTION = re.compile(r"C(\d\d)\+(\d\d)=\\boxed\{(\d+)\}")

_Ask = Callable[..., list[str]]


def measure_skills(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int = 0, *, size: int = 320
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
    task = constant_task.make_hidden_constants(seed)
    rng = random.Random(f"measure {seed}")
    examples = task.held_out[:size]
    texts = [example.problem.text for example in examples]
    families = [example.problem.family or "" for example in examples]
    truths = [constant_task.lesson_text(family, task.rule[family]) for family in families]
    hinted = [as_hint(truth) + text for truth, text in zip(truths, texts, strict=True)]
    noise = [as_hint(_draw_hint(rng, but=family)) for family in families]
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
    return constant_task.solution_text(a, b, constant)


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
    examples = chain_task.make_chains(seed).held_out[:size]
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
