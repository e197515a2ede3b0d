"""What arms are compared on: a task, the policy that begins, and how rollouts are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lanpo_memory.types import SolveMode
from lanpo_rl.seeding.tiny_skills.policies import SHIPPED
from lanpo_rl.seeding.tiny_skills.recipes import CHAINS, INVERSE, PROGRAMS
from lanpo_rl.tasks import Task, make_chains, make_hidden_constants, make_inverse
from lanpo_rl.tasks.programs import PROGRAM_GAMMA, make_programs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "CHAINS_SUBJECT",
    "CONSTANTS_SUBJECT",
    "INVERSE_SUBJECT",
    "PROGRAMS_SUBJECT",
    "Policy",
    "Subject",
]


class Policy(Protocol):
    """Where training begins: a tiny policy's recipe, or a model that is there already."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def fingerprint(self) -> str:
        """Changes with the policy."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Return its tokenizer."""

    def load(self, folder: Path) -> PreTrainedModel:
        """Return a fresh copy; policies made on demand are in `folder`."""


@dataclass(frozen=True)
class Subject:
    """A task with a policy.

    Attributes:
        name: of the subject; the task's, and the policy's where there are several.
        label: its name for people.
        make: the task of a seed.
        policy: where training begins.
        settings: of every run on it, such as the longest completion.
        modes: inference modes that its policy was taught: curves follow them, and tables in short
            show them. At the end every mode is asked.
        answer_tokens: longest answer when it is evaluated.
        problems: how many of a split the final evaluation asks.
        samples: how often it asks each.
        batch: answers that are sampled at a time.
    """

    name: str
    label: str
    make: Callable[[int], Task]
    policy: Policy
    settings: Mapping[str, Any] = field(default_factory=dict)
    modes: tuple[SolveMode, ...] = ("zero_shot", "retrieval")
    answer_tokens: int = 24
    problems: int = 160
    samples: int = 4
    batch: int = 256


CONSTANTS_SUBJECT = Subject("constants", "hidden constants", make_hidden_constants, SHIPPED)

CHAINS_SUBJECT = Subject(
    "chains",
    "chains",
    make_chains,
    CHAINS,
    settings={"max_completion_length": 24},  # a check writes more than an attempt
    modes=("zero_shot", "self_correct"),
    answer_tokens=32,
)
INVERSE_SUBJECT = Subject(
    "inverse",
    "inverse problems",
    make_inverse,
    INVERSE,
    settings={"max_completion_length": 28},
    modes=("zero_shot", "self_correct"),
    answer_tokens=36,
)
PROGRAMS_SUBJECT = Subject(
    "programs",
    "programs",
    make_programs,
    PROGRAMS,
    settings={"gamma": PROGRAM_GAMMA, "max_completion_length": 24, "summary_max_tokens": 12},
    modes=("zero_shot", "retrieval", "self_correct", "retrieval+self_correct"),
    answer_tokens=32,
)
