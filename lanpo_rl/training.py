"""`lanpo train`: any causal language model on any file of problems and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from trl import TrlParser

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Prompts
from lanpo_rl.config import LanpoConfig, preset_settings
from lanpo_rl.data import load_problems
from lanpo_rl.rewards import math_accuracy
from lanpo_rl.tiny import TinyPrompts
from lanpo_rl.trainer import LanpoTrainer

__all__ = ["TrainArguments", "build_trainer", "load_model", "parse", "print_help", "train"]


@dataclass
class TrainArguments:
    """What to train and on what. Everything else is in `LanpoConfig`."""

    model: str = field(metadata={"help": "Folder or name of a causal language model."})
    data: str = field(metadata={"help": "JSON Lines file, or folder or name of a dataset."})
    problem_column: str = field(default="problem", metadata={"help": "Column of the problem."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the answer."})
    answer_marker: str | None = field(
        default=None, metadata={"help": "The answer follows this mark; #### for GSM8K."}
    )
    split: str = field(default="train", metadata={"help": "Split of a dataset."})
    preset: str = field(
        default="recommended",
        metadata={"help": f"Settings to start from: {', '.join(LanpoConfig.PRESETS)}."},
    )
    prompts: str = field(
        default="english",
        metadata={"help": "Language of the roles: english, or tiny for the built-in policy."},
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint folder to go on from."}
    )


def _parser(preset: str) -> TrlParser:
    parser = TrlParser((TrainArguments, LanpoConfig))
    parser.set_defaults(**preset_settings(preset), preset=preset)
    return parser


def print_help() -> None:
    """Print every option, TRL's included."""
    _parser("recommended").print_help()


def parse(arguments: Sequence[str]) -> tuple[TrainArguments, LanpoConfig]:
    """Read flags and, with ``--config FILE.yaml``, a file: preset < file < flags.

    Raises:
        ConfigError: an unknown preset, or a file that cannot be read.
    """
    preset = _early(arguments, "preset") or "recommended"
    given, config = _parser(preset).parse_args_and_config(list(arguments))
    return given, config


def _early(arguments: Sequence[str], name: str) -> str | None:
    """A value that is needed before parsing, from the flags or from the file they name."""
    flags = _flags(arguments)
    if name in flags:
        return flags[name]
    if "config" not in flags:
        return None
    try:
        content = yaml.safe_load(Path(flags["config"]).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {flags['config']}: {error}") from error
    return content.get(name) if isinstance(content, dict) else None


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    flags = {}
    for i, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            follows = arguments[i + 1] if i + 1 < len(arguments) else ""
            flags[name] = value if equals else follows
    return flags


def load_model(source: str) -> tuple[Any, Any]:
    """Return model and tokenizer of a folder or name.

    Raises:
        InvalidInputError: there is no such model, or it has no chat template.
    """
    looks_local = source.startswith((".", "/", "~")) or Path(source).is_dir()
    folder = Path(source).expanduser()
    if looks_local and not (folder / "config.json").is_file():
        raise InvalidInputError(f"there is no model in {source} (no config.json)")
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
        tokenizer = _tokenizer(source)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot load the model {source!r}: {error}") from error
    if tokenizer.chat_template is None:
        raise InvalidInputError(f"the tokenizer of {source!r} has no chat template; add one to it")
    return model, tokenizer


def _tokenizer(source: str) -> Any:
    """The tokenizer as it was saved: for some models AutoTokenizer puts its own splitter in."""
    settings = Path(source).expanduser() / "tokenizer_config.json"
    if settings.is_file() and '"lanpo_tiny"' in settings.read_text(encoding="utf-8"):
        return PreTrainedTokenizerFast.from_pretrained(source)
    return AutoTokenizer.from_pretrained(source)


def build_trainer(given: TrainArguments, config: LanpoConfig) -> LanpoTrainer:
    """Load everything and return a trainer that is ready to train."""
    prompts = _prompts(given.prompts)
    dataset = load_problems(
        given.data,
        prompts=prompts,
        problem_column=given.problem_column,
        answer_column=given.answer_column,
        answer_marker=given.answer_marker,
        split=given.split,
    )
    model, tokenizer = load_model(given.model)
    return LanpoTrainer(
        model,
        math_accuracy,
        config,
        train_dataset=dataset,
        processing_class=tokenizer,
        prompts=prompts,
    )


def _prompts(name: str) -> Prompts:
    if name not in ("english", "tiny"):
        raise ConfigError(f"prompts must be english or tiny, got {name!r}")
    return EnglishPrompts() if name == "english" else TinyPrompts()


def train(arguments: Sequence[str]) -> LanpoTrainer:
    """Parse, build, train, save the model; return the trainer."""
    given, config = parse(arguments)
    if config.pool == "memory:":
        folder = Path(config.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        config.pool = str(folder / "pool.db")  # a run from the shell leaves its pool behind
    trainer = build_trainer(given, config)
    trainer.train(resume_from_checkpoint=given.resume_from_checkpoint)
    trainer.save_model(config.output_dir)
    return trainer
