"""Families that hide a construct: a task that is no mathematics, checked by running programs.

``bako bako bako crossed_reversed`` asks for a program that does what *bako* stands for, then
crosses, then reverses. If *bako* hides ``rot dup``, ``[rot dup]swp rev`` is right, and so is every
program that does the same to the test words. A right program of one problem shows the construct
that all problems of its family need, and never their answers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from string import ascii_lowercase

from lanpo_memory.types import Problem
from lanpo_rl.tasks.base import Example, Level, Task, check_level
from lanpo_rl.tasks.programs.language import STEP_WORDS, execute
from lanpo_rl.tasks.programs.prompts import ProgramPrompts
from lanpo_rl.tiny.alphabet import NAMES

__all__ = [
    "CONSTRUCTS",
    "PROGRAM_GAMMA",
    "Construct",
    "Programs",
    "construct_lesson",
    "make_programs",
    "program_reward",
    "program_text",
    "specification_text",
    "trial_words",
]

Construct = tuple[str, str]
"""Two instructions, the first one first."""

CONSTRUCTS: tuple[Construct, ...] = (
    ("rev", "tip"),
    ("rev", "dup"),
    ("rot", "swp"),
    ("swp", "dbl"),
    ("tip", "add"),
    ("dup", "drp"),
    ("mir", "rot"),
    ("mir", "swp"),
    ("dbl", "add"),
    ("cap", "mir"),
    ("cap", "dbl"),
    ("add", "rot"),
    ("cut", "rev"),
    ("cut", "tip"),
    ("nxt", "dup"),
    ("nxt", "drp"),
)
"""What a family may hide. No two do the same, nor do they with the same two steps behind them."""

PROGRAM_GAMMA = 0.4
"""Relevance threshold for lexical similarity BM25(q, d) / BM25(q, q) on these problems.

Measured at every level on random pools of 8 to 960 training problems, against held-out and shifted
ones: pairs of one family lie between 0.46 and 0.87, pairs of two families at or below 0.36.
"""

_FAMILIES: dict[Level, int] = {"easy": 8, "normal": 16, "hard": 32}
_STEPS: dict[Level, int] = {"easy": 2, "normal": 2, "hard": 3}
_TRAIN, _HELD_OUT, _SHIFTED = 60, 20, 10  # problems of each family
_LENGTHS = (3, 4, 5, 6, 7)  # of the test words


def specification_text(name: str, steps: Sequence[str]) -> str:
    """Return a problem as text, from step words.

    The name stands three times and the steps are one word, so that word statistics favour the
    family over shared steps.

    >>> specification_text("bako", ["crossed", "reversed"])
    'bako bako bako crossed_reversed'
    """
    return f"{name} {name} {name} {'_'.join(steps)}"


def program_text(construct: Sequence[str], instructions: Sequence[str]) -> str:
    """Return a program that brackets the construct and goes on with other instructions.

    >>> program_text(("rot", "dup"), ["swp", "rev"])
    '[rot dup]swp rev'
    """
    return f"[{' '.join(construct)}]{' '.join(instructions)}"


def construct_lesson(name: str, construct: Sequence[str]) -> str:
    """Return what there is to learn from a program.

    >>> construct_lesson("bako", ("rot", "dup"))
    'bako rot dup'
    """
    return " ".join((name, *construct))


def trial_words(reference: str) -> tuple[str, ...]:
    """Return the words on which a program is compared with a reference, made from the latter.

    Words of 3 to 7 letters, without repetition in a word: what happens to a letter shows.
    """
    rng = random.Random(f"trial words {reference}")
    return tuple("".join(rng.sample(ascii_lowercase, length)) for length in _LENGTHS)


@lru_cache(maxsize=8192)
def _expected(reference: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((word, execute(reference, word)) for word in trial_words(reference))


def program_reward(completion: str, answer: str) -> float:
    """Return 1.0 if a program makes of every test word what the reference does, else 0.0.

    >>> program_reward("[rot dup]swp rev", "rot dup swp rev"), program_reward("rev", "rot")
    (1.0, 0.0)
    """
    return float(
        all(
            wanted is not None and execute(completion, word) == wanted
            for word, wanted in _expected(answer)
        )
    )


@dataclass(frozen=True)
class Programs(Task):
    """The task, with the rule behind it. The rule is for measuring; no prompt is made from it."""

    rule: Mapping[str, Construct] = field(default_factory=dict)

    def reward(self, completion: str, answer: str) -> float:
        """Return 1.0 for any program that does what the reference does, else 0.0."""
        return program_reward(completion, answer)


def make_programs(seed: int = 0, level: Level = "normal") -> Programs:
    """Make the task: names, constructs, splits and order all follow from the seed.

    Each family has 60 problems to train on and 20 to measure on, and 10 shifted ones, which have a
    step more.

    Args:
        seed: of everything.
        level: of difficulty: 8, 16 or 32 families, with two steps, two or three.

    Raises:
        ConfigError: there is no such level.

    >>> make_programs(0).held_out[0].problem.text.count("_")
    1
    """
    check_level(level)
    families, length = _FAMILIES[level], _STEPS[level]
    rng = random.Random(f"programs {seed}")
    constructs = rng.sample(CONSTRUCTS, len(CONSTRUCTS)) * 2  # each as often as any other
    rule = dict(zip(rng.sample(NAMES, families), constructs[:families], strict=True))
    steps, longer = ([*product(STEP_WORDS, repeat=n)] for n in (length, length + 1))
    train: list[Example] = []
    held_out: list[Example] = []
    shifted: list[Example] = []
    for name, construct in rule.items():
        examples = [
            _example(name, construct, each) for each in rng.sample(steps, _TRAIN + _HELD_OUT)
        ]
        train += examples[:_TRAIN]
        held_out += examples[_TRAIN:]
        shifted += [_example(name, construct, each) for each in rng.sample(longer, _SHIFTED)]
    for split in (train, held_out, shifted):
        rng.shuffle(split)
    return Programs(
        "programs", tuple(train), tuple(held_out), tuple(shifted), ProgramPrompts(), rule=rule
    )


def _example(name: str, construct: Construct, steps: Sequence[str]) -> Example:
    problem = Problem(text=specification_text(name, steps), family=name)
    return Example(problem, program_text(construct, [STEP_WORDS[step] for step in steps]))
