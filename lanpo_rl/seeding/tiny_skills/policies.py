"""Tiny policies: what each is taught, and where its weights are, shipped or made on demand."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import fingerprint
from lanpo_rl.seeding.tiny_skills.drawing import Mixture
from lanpo_rl.seeding.tiny_skills.training import SHIPPED_SKILLS, STEPS, Progress, seed_tiny_policy
from lanpo_rl.tiny.alphabet import VOCABULARY
from lanpo_rl.tiny.model import Family, Size, build_model
from lanpo_rl.tiny.policy import WEIGHTS, read_weights, write_weights
from lanpo_rl.tiny.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["SHIPPED", "SHIPPED_WEIGHTS", "SeededPolicy"]

SHIPPED_WEIGHTS = Path(__file__).with_name("weights")
"""What `make` has put here comes with the package, for as long as its recipe does not change."""


@dataclass(frozen=True)
class SeededPolicy:
    """A recipe for a tiny policy: network, alphabet, and what it is taught before any training.

    Attributes:
        name: of the file.
        skills: what it is taught, each with its weight.
        vocabulary: every token it knows.
        family: of the network.
        size: of the network.
        steps: of supervised training.
        batch_size: lessons a step.
        learning_rate: at the top of its schedule.
        seed: of weights and lessons.

    >>> SeededPolicy("tiny").parameters
    474752
    """

    name: str
    skills: Mixture = SHIPPED_SKILLS
    vocabulary: Sequence[str] = field(default=VOCABULARY, repr=False)
    family: Family = "qwen2"
    size: Size = "small"
    steps: int = STEPS
    batch_size: int = 80
    learning_rate: float = 2e-3
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """Changes with the recipe, the code of its skills included (that of their modules)."""
        modules = {inspect.getmodule(draw) for draw, _ in self.skills}
        sources = sorted(inspect.getsource(module) for module in modules if module is not None)
        weights = [f"{draw.__module__}.{draw.__qualname__} {share}" for draw, share in self.skills]
        numbers = (self.steps, self.batch_size, self.learning_rate, self.seed)
        about = [self.family, self.size, *map(str, numbers), *self.vocabulary]
        return fingerprint(*about, *weights, *sources)

    @property
    def shipped(self) -> Path:
        """Where its weights are if they come with the package."""
        return SHIPPED_WEIGHTS / self._file

    @property
    def is_shipped(self) -> bool:
        """Whether its weights come with the package, so that nothing has to be made."""
        return self.shipped.is_file()

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return int(self._blank().num_parameters())

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Return its tokenizer."""
        return build_tokenizer(self.vocabulary)

    def path(self, folder: Path) -> Path:
        """Where its weights are: shipped, or kept in a folder of policies."""
        return self.shipped if self.is_shipped else folder / self._file

    def is_made(self, folder: Path) -> bool:
        """Whether `load` finds its weights."""
        return self.path(folder).is_file()

    def make(self, folder: Path, progress: Progress | None = None) -> Path:
        """Train it, unless that was done, and return the path of its weights."""
        path = self.path(folder)
        if path.is_file():
            return path
        model = seed_tiny_policy(
            steps=self.steps,
            seed=self.seed,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            skills=self.skills,
            vocabulary=self.vocabulary,
            family=self.family,
            size=self.size,
            progress=progress,
        )
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        write_weights(model, part, self.vocabulary)
        part.replace(path)
        return path

    def load(self, folder: Path) -> PreTrainedModel:
        """Return a fresh copy of the policy that `make` left in a folder.

        Raises:
            ConfigError: it is not there.
        """
        if not self.is_made(folder):
            raise ConfigError(
                f"the policy {self.name} is not in {folder}: make it there with make(), or, in the "
                f"folder of a study, remove runs/policies/{self.name} and give the command again"
            )
        model = self._blank()
        read_weights(model, self.path(folder), self.vocabulary)
        model.train(mode=False)
        return model

    @property
    def _file(self) -> str:
        return f"{self.name}-{self.fingerprint[:12]}.safetensors"

    def _blank(self) -> PreTrainedModel:
        return build_model(self.tokenizer(), seed=self.seed, family=self.family, size=self.size)


class _Demonstrating(SeededPolicy):
    @property
    def shipped(self) -> Path:
        return WEIGHTS


SHIPPED = _Demonstrating("shipped")
"""The policy of the demo, which knows hidden constants and chains."""
