r"""Families that hide a constant: a task on which memory can help and cannot leak an answer.

``bako bako bako 8_6`` asks for 8 + 6 + the constant of *bako*. A blind guess is right one time in
sixteen, and no constant is commoner than another: naming the same one always gains nothing more.
A correct solution of any problem of the family, ``C09+14=\boxed{23}``, reveals the constant, and
with it the way to all others, though never their answers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Problem
from lanpo_rl.tasks.base import Example, Level, Task, check_level
from lanpo_rl.tiny.alphabet import BOX, CONSTANTS, NAMES

__all__ = [
    "LEXICAL_GAMMA",
    "HiddenConstants",
    "lesson_text",
    "make_hidden_constants",
    "problem_text",
    "solution_text",
]

LEXICAL_GAMMA = 0.4
"""Relevance threshold for lexical similarity BM25(q, d) / BM25(q, q) on these problems.

Measured on random pools of 8 to 1,024 training problems: pairs of one family lie between 0.44 and
0.83, pairs of two families at or below 0.30. With only 4 problems pooled, two families can reach
0.40.
"""

_DIGITS = 10
_FAMILIES: dict[Level, int] = {"easy": 8, "normal": 16, "hard": 32}


def problem_text(name: str, a: int, b: int) -> str:
    """Return a problem as text.

    The name stands three times and the operands are one word, so that word statistics favour the
    family over shared digits even while few problems are known.
    """
    return f"{name} {name} {name} {a}_{b}"


def solution_text(a: int, b: int, constant: int) -> str:
    r"""Return a solution in full, which names the constant it used.

    >>> solution_text(8, 6, 9)
    'C09+14=\\boxed{23}'
    """
    return f"C{constant:02d}+{a + b:02d}={BOX}{a + b + constant}}}"


def lesson_text(name: str, constant: int) -> str:
    """Return what there is to learn from a solution."""
    return f"{name} C{constant:02d}"


@dataclass(frozen=True)
class HiddenConstants(Task):
    """The task, with the rule behind it. The rule is for measuring; no prompt is made from it."""

    rule: Mapping[str, int] = field(default_factory=dict)


def make_hidden_constants(
    seed: int = 0,
    *,
    families: int | None = None,
    held_out_per_family: int = 20,
    level: Level = "normal",
) -> HiddenConstants:
    """Make the task: names, constants, splits and order all follow from the seed.

    Each family has 100 problems, one for each pair of digits. The shifted problems are of families
    that are never trained on: whoever knows their constants has seen an answer.

    Args:
        seed: of everything.
        families: how many hide a constant; by default what the level says (8, 16 or 32).
        held_out_per_family: problems of each family that are not trained on.
        level: of difficulty.

    Raises:
        ConfigError: more families than names, or nothing left to train on.
    """
    check_level(level)
    families = _FAMILIES[level] if families is None else families
    if not 1 <= families <= len(NAMES):
        raise ConfigError(f"families must be 1 to {len(NAMES)}, not {families}")
    if not 0 <= held_out_per_family < _DIGITS**2:
        raise ConfigError(f"held_out_per_family must be 0 to 99, not {held_out_per_family}")
    rng = random.Random(f"hidden constants {seed}")
    rule = dict(zip(rng.sample(NAMES, families), _spread(families, rng), strict=True))
    train: list[Example] = []
    held_out: list[Example] = []
    for name, constant in rule.items():
        examples = _family(name, constant)
        rng.shuffle(examples)
        held_out += examples[:held_out_per_family]
        train += examples[held_out_per_family:]
    rng.shuffle(train)
    rng.shuffle(held_out)
    return HiddenConstants(
        "hidden_constants", tuple(train), tuple(held_out), _strangers(seed, rule), rule=rule
    )


def _strangers(seed: int, rule: Mapping[str, int]) -> tuple[Example, ...]:
    """Problems of other families: as many of each as there are held-out ones by default."""
    rng = random.Random(f"hidden constants {seed} shifted")
    names = rng.sample(
        [name for name in NAMES if name not in rule], k=min(8, len(NAMES) - len(rule))
    )
    found = [
        example
        for name, constant in zip(names, _spread(len(names), rng), strict=True)
        for example in rng.sample(_family(name, constant), 20)
    ]
    rng.shuffle(found)
    return tuple(found)


def _spread(count: int, rng: random.Random) -> list[int]:
    """Return constants of which each occurs as often as any other, give or take one."""
    rounds = math.ceil(count / CONSTANTS)
    drawn = [c for _ in range(rounds) for c in rng.sample(range(CONSTANTS), CONSTANTS)]
    return drawn[:count]


def _family(name: str, constant: int) -> list[Example]:
    return [
        Example(Problem(text=problem_text(name, a, b), family=name), str(a + b + constant))
        for a in range(_DIGITS)
        for b in range(_DIGITS)
    ]
