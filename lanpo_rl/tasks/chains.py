r"""Chains of arithmetic modulo 10 whose steps are written out, and so can be verified one by one.

``4+3*7-1`` is solved as ``+3:7*7:9-1:8\boxed{8}``: each operator with the digit it leads to. The
seeded policy believes some facts wrongly when it solves, and fewer of them when it checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Problem
from lanpo_rl.tasks.base import Example, Level, Task, check_level
from lanpo_rl.tiny.alphabet import BOX, OPERATORS

__all__ = [
    "Belief",
    "Chain",
    "Step",
    "apply_operator",
    "chain_text",
    "draw_chain",
    "make_chains",
    "marked_text",
    "steps_text",
    "walk",
]

Chain = tuple[int, tuple[str, ...]]
"""A start digit and the operators applied to it, first to last."""
Step = tuple[str, int]
"""An operator and the digit it led to."""
Belief = Callable[[str, int], int]
"""What somebody holds operator(digit) to be."""

_LENGTH = 4
_LENGTHS: dict[Level, int] = {"easy": 3, "normal": _LENGTH, "hard": 6}


def apply_operator(operator: str, digit: int) -> int:
    """Return what the operator makes of the digit, modulo 10: the truth.

    >>> apply_operator("*7", 4)
    8
    """
    sign, operand = operator[0], int(operator[1:])
    value = {"+": digit + operand, "-": digit - operand, "*": digit * operand}[sign]
    return value % 10


def draw_chain(rng: random.Random, length: int = _LENGTH) -> Chain:
    """Draw a start digit and `length` operators."""
    return rng.randrange(10), tuple(rng.choices(OPERATORS, k=length))


def walk(chain: Chain, belief: Belief = apply_operator) -> list[Step]:
    """Return the steps of a chain under a belief (default: the truth)."""
    digit, operators = chain
    steps: list[Step] = []
    for operator in operators:
        digit = belief(operator, digit)
        steps.append((operator, digit))
    return steps


def chain_text(chain: Chain) -> str:
    """Return a chain as a problem's text.

    >>> chain_text((4, ("+3", "*7")))
    '4+3*7'
    """
    return f"{chain[0]}{''.join(chain[1])}"


def steps_text(steps: Sequence[Step], answer: int | None = None) -> str:
    r"""Return steps as a solution; `answer` replaces the last digit in the box.

    >>> steps_text([("+3", 7), ("*7", 9)])
    '+3:7*7:9\\boxed{9}'
    """
    return _boxed([f"{operator}:{digit}" for operator, digit in steps], steps, answer)


def marked_text(steps: Sequence[Step], attempt: Sequence[Step]) -> str:
    r"""Return steps as the check of an attempt: ``=`` where they agree with it, ``?`` where not.

    >>> marked_text([("+3", 7), ("*7", 9)], [("+3", 7), ("*7", 1)])
    '+3:7=*7:9?\\boxed{9}'
    """
    agrees = [i < len(attempt) and attempt[i] == step for i, step in enumerate(steps)]
    written = [
        f"{operator}:{digit}{'=' if same else '?'}"
        for (operator, digit), same in zip(steps, agrees, strict=True)
    ]
    return _boxed(written, steps, None)


def _boxed(written: Sequence[str], steps: Sequence[Step], answer: int | None) -> str:
    return f"{''.join(written)}{BOX}{steps[-1][1] if answer is None else answer}}}"


def make_chains(
    seed: int = 0,
    *,
    train_size: int = 200,
    held_out_size: int = 300,
    length: int | None = None,
    level: Level = "normal",
) -> Task:
    """Make the task: distinct chains over the same operators, drawn from the seed.

    The shifted problems are two operators longer.

    Args:
        seed: of everything.
        train_size: chains to train on.
        held_out_size: chains to measure on; as many are shifted, 200 at most.
        length: operators of a chain; by default what the level says (3, 4 or 6).
        level: of difficulty.

    Raises:
        ConfigError: there are not comfortably enough chains of that length.
    """
    check_level(level)
    length = _LENGTHS[level] if length is None else length
    size = train_size + held_out_size
    if length < 1 or 2 * size > 10 * len(OPERATORS) ** length:
        raise ConfigError(f"too few chains of length {length} for {size} distinct problems")
    rng = random.Random(f"chains {seed}")
    drawn: dict[Chain, Example] = {}
    while len(drawn) < size:
        chain = draw_chain(rng, length)
        drawn.setdefault(chain, _example(chain))
    examples = tuple(drawn.values())
    return Task(
        "chains",
        train=examples[:train_size],
        held_out=examples[train_size:],
        shifted=_longer(seed, length + 2, min(200, held_out_size)),
    )


def _longer(seed: int, length: int, size: int) -> tuple[Example, ...]:
    rng = random.Random(f"chains {seed} shifted")
    found: dict[Chain, Example] = {}
    while len(found) < size:
        chain = draw_chain(rng, length)
        found.setdefault(chain, _example(chain))
    return tuple(found.values())


def _example(chain: Chain) -> Example:
    return Example(Problem(text=chain_text(chain), family="chains"), str(walk(chain)[-1][1]))
