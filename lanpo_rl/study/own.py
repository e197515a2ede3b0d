"""A study's arms on your own problems, with a model of your own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import fingerprint
from lanpo_rl.study.arms import arm_config
from lanpo_rl.study.jsonl import jsonl_task
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import Subject

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["ModelPolicy", "check_on_your_own", "on_your_own"]

LEARNING_RATE = 1e-6
"""That of TRL for GRPO. The arms of the tiny policy have a hundred times as much."""


@dataclass(frozen=True)
class ModelPolicy:
    """A policy that is there already: a folder, or a name on the Hugging Face hub."""

    source: str

    @property
    def name(self) -> str:
        """The last part of the source."""
        return Path(self.source).name

    @property
    def fingerprint(self) -> str:
        """Changes with the source; what lies there is not looked at."""
        return fingerprint(self.source)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Load the tokenizer.

        Raises:
            InvalidInputError: there is none, or it has no chat template.
        """
        from lanpo_rl.training import load_tokenizer

        found: PreTrainedTokenizerFast = load_tokenizer(self.source)
        return found

    def load(self, folder: Path) -> PreTrainedModel:
        """Load the model. Nothing of it is kept in the study's folder of policies."""
        from lanpo_rl.training import load_model

        found: PreTrainedModel = load_model(self.source)[0]
        return found


def on_your_own(
    study: Study,
    *,
    model: str,
    data: Path,
    held_out: int | Path = 200,
    problem_column: str = "problem",
    answer_column: str = "answer",
    answer_marker: str | None = None,
    learning_rate: float = LEARNING_RATE,
    settings: dict[str, Any] | None = None,
    steps: int | None = None,
    answer_tokens: int = 2048,
) -> Study:
    """Return the study with one subject: your problems in place of the built-in tasks.

    Its name, and with it its folder, is one of its own for each model and file.

    Arms are those of the study's first subject; arms that begin with a policy of their own, which
    only a built-in task has, are left out. Every arm trains at the learning rate given here.

    Args:
        study: whose arms are compared.
        model: folder or name of a causal language model that follows instructions.
        data: JSON Lines; see `jsonl_task`, like the next four.
        held_out: how many of its problems are kept for measuring, or a file of others.
        problem_column: where a problem's text is.
        answer_column: where its answer is.
        answer_marker: what stands in front of the final answer, such as ``####``.
        learning_rate: of every arm that trains.
        settings: of `LanpoConfig`, for every arm.
        steps: in place of the study's.
        answer_tokens: longest answer when the policy is measured.

    Raises:
        ConfigError: a learning rate of 0 or below.

    >>> from lanpo_rl.study.studies import STUDIES
    >>> mine = on_your_own(STUDIES[0], model="Qwen/Qwen3-0.6B", data=Path("train.jsonl"))
    >>> mine.parts[0].subject.name, mine.arms
    ('train', ('memory_only', 'grpo', 'recommended'))
    """
    if not learning_rate > 0:
        raise ConfigError(f"a learning rate must be above 0, got {learning_rate}")
    first = study.parts[0]
    make = partial(
        jsonl_task,
        data,
        held_out=held_out,
        problem_column=problem_column,
        answer_column=answer_column,
        answer_marker=answer_marker,
        measured=400,
    )
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", data.stem).strip("-.") or "data"
    subject = Subject(
        name,
        data.stem,
        make,
        ModelPolicy(model),
        settings={**_SETTINGS, **(settings or {})},
        modes=("zero_shot", "retrieval", "self_correct", "retrieval+self_correct"),
        answer_tokens=answer_tokens,
        batch=16,
    )
    arms = tuple(
        replace(arm, learning_rate=learning_rate) if arm.learning_rate else arm
        for arm in first.arms
        if arm.policy is None
    )
    part = Part(subject, arms, steps or first.steps, first.evaluate_every)
    which = fingerprint(model, str(data.resolve()))[:6]  # so that no other study has its folder
    return replace(study, name=f"{study.name}-{name}-{which}", parts=(part,))


def check_on_your_own(study: Study) -> None:
    """Find out before any run what would make each of them crash.

    Args:
        study: as `on_your_own` returned it.

    Raises:
        ConfigError: no GPU, a setting that makes no sense, or answers longer than what the model
            can read.
        InvalidInputError: the model or the file cannot be used, or it leaves fewer problems than a
            step takes.
    """
    import torch

    from lanpo_rl.fitness import check_size
    from lanpo_rl.training import load_config

    [part] = study.parts
    subject = part.subject
    settings = subject.settings
    task = subject.make(study.first_seed)
    subject.policy.tokenizer()
    if not settings.get("use_cpu") and not torch.accelerator.is_available():
        raise ConfigError(
            "there is no GPU here, and a model of your own trains on one; to train it on the CPU, "
            'call on_your_own from Python with settings={"use_cpu": True, "bf16": False, '
            '"activation_checkpointing": False}'
        )
    assert isinstance(subject.policy, ModelPolicy)
    reads = getattr(load_config(subject.policy.source), "max_position_embeddings", None)
    longest = max(subject.answer_tokens, int(settings["max_completion_length"]))
    if reads is not None and longest >= reads:
        raise ConfigError(
            f"{subject.policy.source} reads {reads} tokens, prompts included, and answers may have "
            f'{longest}: call on_your_own from Python with settings={{"max_completion_length": '
            "...} and answer_tokens=..."
        )
    config = arm_config(part.arms[0], subject, seed=study.first_seed, steps=1, folder=Path())
    check_size(config, task.train, f"what is left of {subject.label} to train on")


# What a tiny policy and a CPU need is taken back; the lengths are those of the paper's appendix.
_SETTINGS: dict[str, Any] = {
    "gamma": None,
    "max_completion_length": 2048,
    "summary_max_tokens": 512,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "use_cpu": False,
    "bf16": True,
    "activation_checkpointing": True,
}
