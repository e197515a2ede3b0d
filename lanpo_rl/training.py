"""`lanpo train`: any causal language model on any file of problems and answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from trl import ModelConfig, TrlParser, get_peft_config, get_quantization_config

from lanpo_memory.errors import ConfigError, InvalidInputError, LanpoError, MissingExtraError
from lanpo_memory.pool import open_pool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Prompts
from lanpo_memory.stores import shown
from lanpo_rl.checkpoints import last_complete
from lanpo_rl.config import LanpoConfig, preset_settings
from lanpo_rl.data import load_problems
from lanpo_rl.fitness import check_size
from lanpo_rl.rewards import math_accuracy
from lanpo_rl.tiny import TinyPrompts
from lanpo_rl.trainer import LanpoTrainer

__all__ = [
    "TrainArguments",
    "build_trainer",
    "load_model",
    "load_reward",
    "load_tokenizer",
    "parse",
    "print_help",
    "train",
]

_log = logging.getLogger(__name__)

_SEE_HELP = "see lanpo train --help-all"


@dataclass
class TrainArguments(ModelConfig):
    """What to train, on what, and judged by what. Everything else is in `LanpoConfig`.

    Of TRL's `ModelConfig` come dtype, attention, quantisation and the settings of adapters.
    """

    model: str | None = field(
        default=None, metadata={"help": "Folder or name of a causal language model."}
    )
    data: str | None = field(
        default=None, metadata={"help": "JSON Lines file, or folder or name of a dataset."}
    )
    problem_column: str = field(default="problem", metadata={"help": "Column of the problem."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the answer."})
    answer_marker: str | None = field(
        default=None, metadata={"help": "The answer follows this mark; #### for GSM8K."}
    )
    split: str = field(default="train", metadata={"help": "Split of a dataset."})
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a dataset that has several."}
    )
    eval_data: str | None = field(
        default=None,
        metadata={"help": "Held-out problems, like --data; evaluated with --eval_strategy steps."},
    )
    eval_split: str = field(default="test", metadata={"help": "Split of --eval_data."})
    preset: str = field(
        default="recommended",
        metadata={"help": f"Settings to start from: {', '.join(LanpoConfig.PRESETS)}."},
    )
    prompts: str = field(
        default="english",
        metadata={"help": "Language of the roles: english, or tiny for the built-in policy."},
    )
    reward: str = field(
        default="math",
        metadata={
            "help": "math (math-verify), or FILE.py:FUNCTION or MODULE:FUNCTION in TRL's form; "
            "sync or async."
        },
    )


class _Parser(TrlParser):
    """A parser that says what is wrong in one line, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {_SEE_HELP}")


def _parser(preset: str, content: Mapping[str, Any]) -> tuple[_Parser, list[str]]:
    """A parser with a preset's and a file's settings as defaults, and what is unknown of these."""
    parser = _Parser(
        (TrainArguments, LanpoConfig),
        prog="lanpo train",
        usage="lanpo train --model MODEL --data DATA [options]",
        allow_abbrev=False,
    )
    parser.set_defaults(**preset_settings(preset))
    return parser, parser.set_defaults_with_config(**{**content, "preset": preset})


def print_help() -> None:
    """Print every option, TRL's included."""
    _parser("recommended", {})[0].print_help()


def parse(arguments: Sequence[str]) -> tuple[TrainArguments, LanpoConfig]:
    """Read flags and, with ``--config FILE.yaml``, a file: preset < file < flags.

    Raises:
        ConfigError: an unknown preset or option, a value that makes no sense, or a file that
            cannot be read.
    """
    early = _Parser(add_help=False, allow_abbrev=False)  # what the other defaults depend on
    early.add_argument("--config")
    early.add_argument("--preset")
    first, rest = early.parse_known_args(list(arguments))
    content = {} if first.config is None else _content(first.config)
    preset = first.preset or content.get("preset") or "recommended"
    parser, unknown = _parser(str(preset), content)
    namespace, more = parser.parse_known_args(rest)
    if unknown or more:
        raise ConfigError(f"unknown options: {' '.join([*unknown, *more])}; {_SEE_HELP}")
    missing = [name for name in ("model", "data") if getattr(namespace, name) is None]
    if missing == ["model"] and namespace.model_name_or_path:
        missing = []  # TRL's name for it
    if missing:
        options = " and ".join(f"--{name}" for name in missing)
        raise ConfigError(f"lanpo train needs {options}; see lanpo train --help")
    try:
        given, config = parser.parse_args_into_dataclasses(rest, look_for_args_file=False)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:  # what TRL and transformers say about their settings
        on_cpu = "add --use_cpu true --bf16 false" if "use_cpu" in str(error) else _SEE_HELP
        raise ConfigError(f"{_line(error)}; {on_cpu}") from error
    given.model = given.model or given.model_name_or_path
    return given, config


def _content(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read --config {path!r}: {_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path!r} must hold one `option: value` a line")
    return content


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def load_model(source: str, **settings: Any) -> tuple[Any, Any]:
    """Return model and tokenizer of a folder or name; `settings` go to `from_pretrained`.

    Raises:
        InvalidInputError: there is no such model, or it has no chat template.
    """
    name = _located(source)
    try:
        model = AutoModelForCausalLM.from_pretrained(name, **{"dtype": "auto", **settings})
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot load the model {source!r}: {_line(error)}") from error
    return model, load_tokenizer(source)


def load_config(source: str) -> Any:
    """Return what a folder or name says of its model, without loading it.

    Raises:
        InvalidInputError: there is no such model.
    """
    try:
        return AutoConfig.from_pretrained(_located(source))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot load the model {source!r}: {_line(error)}") from error


def load_tokenizer(source: str) -> Any:
    """Return the tokenizer of a folder or name, as it was saved.

    One of no model's own class is all in its file, yet AutoTokenizer goes by the type of the
    model: of a qwen2 folder it would replace the splitter.

    Raises:
        InvalidInputError: there is no such model, or it has no chat template.
    """
    name = _located(source)
    try:
        kind = get_tokenizer_config(name).get("tokenizer_class")
        whole = kind in ("TokenizersBackend", "PreTrainedTokenizerFast")
        tokenizer = (PreTrainedTokenizerFast if whole else AutoTokenizer).from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot load the model {source!r}: {_line(error)}") from error
    if tokenizer.chat_template is None:
        raise InvalidInputError(f"the tokenizer of {source!r} has no chat template; add one to it")
    return tokenizer


def _located(source: str) -> str:
    """Return the folder or the hub's name that is meant; such a name has one slash at most.

    Raises:
        InvalidInputError: it can only be a folder, and no model is in it.
    """
    folder = Path(source).expanduser()
    if not (source.startswith((".", "/", "~")) or source.count("/") > 1 or folder.is_dir()):
        return source
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"there is no model in {source} (no config.json)")
    return str(folder)


def build_trainer(given: TrainArguments, config: LanpoConfig) -> LanpoTrainer:
    """Load everything and return a trainer that is ready to train.

    What is wrong with data, reward or adapters is said before the model is loaded.
    """
    prompts, reward = _prompts(given.prompts), load_reward(given.reward)
    dataset = _problems(given, given.data or "", given.split, prompts)
    held_out = given.eval_data and _problems(given, given.eval_data, given.eval_split, prompts)
    check_size(config, dataset, given.data or "")
    if held_out:
        _check_apart(dataset, held_out)
    evaluates = str(getattr(config.eval_strategy, "value", config.eval_strategy)) != "no"
    if evaluates is not bool(held_out):
        raise ConfigError(
            "--eval_data and --eval_strategy belong together: give both, such as --eval_data "
            "held_out.jsonl --eval_strategy steps, or none"
        )
    adapters = _adapters(given)
    model, tokenizer = load_model(given.model or "", **_loading(given))
    return LanpoTrainer(
        model,
        reward,
        config,
        train_dataset=dataset,
        eval_dataset=held_out or None,
        processing_class=tokenizer,
        peft_config=adapters,
        prompts=prompts,
    )


def _problems(given: TrainArguments, source: str, split: str, prompts: Prompts) -> Any:
    return load_problems(
        source,
        prompts=prompts,
        problem_column=given.problem_column,
        answer_column=given.answer_column,
        answer_marker=given.answer_marker,
        split=split,
        config=given.data_config,
    )


def _check_apart(dataset: Any, held_out: Any) -> None:
    both = set(dataset["problem_id"]) & set(held_out["problem_id"])
    if both:
        raise InvalidInputError(
            f"{len(both):,} problems of --eval_data are in --data too, {sorted(both)[0]!r} for one:"
            " evaluation would measure recall. Take them out of one of the two"
        )


def _adapters(given: TrainArguments) -> Any:
    if given.use_peft and find_spec("peft") is None:
        raise MissingExtraError("peft", "lora")
    return get_peft_config(given)


def _loading(given: TrainArguments) -> dict[str, Any]:
    """How the model is loaded, as TRL's own scripts do it."""
    settings = {
        "revision": given.model_revision,
        "attn_implementation": given.attn_implementation,
        "dtype": given.dtype,
        "quantization_config": get_quantization_config(given),
    }
    return {name: value for name, value in settings.items() if value is not None}


def load_reward(name: str) -> Any:
    """Return the reward function that `--reward` names.

    Raises:
        ConfigError: there is no such file, module or function.
    """
    if name == "math":
        return math_accuracy
    place, colon, function = name.rpartition(":")
    if not colon or not place:
        raise ConfigError(f"--reward is math, FILE.py:FUNCTION or MODULE:FUNCTION, got {name!r}")
    try:
        module = _module_of(place)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError(f"cannot load --reward {name!r}: {_line(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"--reward {name!r}: {place} has no function {function!r}")
    return found


def _module_of(place: str) -> Any:
    if not place.endswith(".py"):
        return import_module(place)
    path = Path(place).expanduser()
    if not path.is_file():
        raise OSError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prompts(name: str) -> Prompts:
    if name not in ("english", "tiny"):
        raise ConfigError(f"prompts must be english or tiny, got {name!r}")
    return EnglishPrompts() if name == "english" else TinyPrompts()


def _warn_of_old_experiences(config: LanpoConfig) -> None:
    with open_pool(config.pool, namespace=config.pool_namespace) as pool:
        if len(pool):
            _log.warning(
                "%s holds %s experiences already; they guide this run too. To begin with an "
                "empty pool, name another --pool or --pool_namespace.",
                shown(config.pool),
                f"{len(pool):,}",
            )


def _built(given: TrainArguments, config: LanpoConfig) -> LanpoTrainer:
    """What other libraries say about settings, in one line."""
    try:
        return build_trainer(given, config)
    except LanpoError:
        raise
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{_line(error)}; {_SEE_HELP}") from error


def train(arguments: Sequence[str]) -> LanpoTrainer:
    """Parse, build, train, save the model; return the trainer."""
    given, config = parse(arguments)
    checkpoint: Any = config.resume_from_checkpoint
    if str(checkpoint).lower() in ("true", "last"):
        checkpoint = str(last_complete(Path(config.output_dir)))
    if checkpoint is not None and not Path(checkpoint).is_dir():
        raise InvalidInputError(
            f"there is no checkpoint folder {checkpoint}; give one, or true for the newest of "
            "--output_dir"
        )
    if config.pool == "memory:":
        folder = Path(config.output_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"cannot make --output_dir {folder}: {error.strerror}"
            ) from error
        config.pool = str(folder / "pool.db")  # a run from the shell leaves its pool behind
    if checkpoint is None and os.environ.get("RANK", "0") == "0":  # the one that holds the pool
        _warn_of_old_experiences(config)
    trainer = _built(given, config)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(config.output_dir)
    return trainer
