"""A causal language model and its tokenizer, loaded or checked, and what to call the two."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lanpo_memory.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import torch

__all__ = ["Loaded", "check_installed", "load"]

_LOADING = (OSError, ValueError, RuntimeError, KeyError, ImportError, AssertionError, TypeError)
# These stand for "as written in tokenizer.json", with no rules of a model family on top.
_PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")


class Loaded(NamedTuple):
    """A model, its tokenizer, and a short name for reports."""

    model: Any
    tokenizer: Any
    name: str


def check_installed() -> None:
    """Raise `MissingExtraError` where torch or transformers is not installed."""
    for package in ("torch", "transformers"):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, "rl") from None


def load(
    model: str | Path | Any,
    tokenizer: Any | None,
    *,
    name: str | None,
    device: str | None,
    dtype: str | None,
) -> Loaded:
    """Load what is a path or a name, take over what is a model, and check the pair.

    Raises:
        ConfigError: there is no such model, it does not load whole, or it cannot chat.
    """
    if isinstance(model, str | Path):
        loaded = _from_disk(model, tokenizer, name, device, dtype)
    else:
        loaded = _from_memory(model, tokenizer, name, device, dtype)
    _check(loaded)
    return loaded


def _from_memory(
    model: Any, tokenizer: Any | None, name: str | None, device: str | None, dtype: str | None
) -> Loaded:
    if tokenizer is None:
        raise ConfigError("a loaded model comes without its tokenizer: pass tokenizer= as well")
    if device is not None or dtype is not None:
        raise ConfigError(
            "device and dtype are for a model that is loaded here; move a loaded model yourself, "
            "with model.to(...)"
        )
    path = str(getattr(getattr(model, "config", None), "name_or_path", "") or "")
    return Loaded(model, tokenizer, name or Path(path).name or type(model).__name__)


def _from_disk(
    model: str | Path,
    tokenizer: Any | None,
    name: str | None,
    device: str | None,
    dtype: str | None,
) -> Loaded:
    place, short = _place(model)
    number, target = _dtype(dtype), _device(device)
    network = _network(place, number)
    try:
        network.to(target)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{place!r} cannot be moved to {target}: {_gist(error)}") from error
    network.train(mode=False)
    if tokenizer is None:
        tokenizer = _tokenizer(place)
    return Loaded(network, tokenizer, name or short)


def _place(model: str | Path) -> tuple[str, str]:
    """What to load, and its short name: a folder that is there, or a name on the hub."""
    text = str(model)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return str(path), path.resolve().name
    if isinstance(model, Path) or not text or text.startswith((".", "/", "~")):
        raise ConfigError(f"there is no folder {text!r} with a language model")
    return text, text


def _dtype(name: str | None) -> Any:
    import torch

    if name is None:
        return "auto"
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype {name!r} is none of float32, bfloat16, float16")
    return found


def _device(name: str | None) -> torch.device:
    import torch

    try:
        return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown to torch: {_gist(error)}") from error


def _network(place: str, dtype: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model, seen = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    except (*_LOADING, SafetensorError) as error:
        raise ConfigError(
            f"{place!r} does not load as a language model: {_gist(error)}. Pass a folder written "
            "by save_pretrained, or the name of a model on the Hugging Face hub"
        ) from error
    # transformers fills gaps with random numbers: such a model answers, and answers nonsense.
    if missing := sorted(seen["missing_keys"]):
        raise ConfigError(
            f"{place!r} lacks {len(missing)} weights of its model, {missing[0]!r} among them; save "
            "or download it again"
        )
    return model


def _tokenizer(place: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        plain = _declared_class(place) in _PLAIN
        # `AutoTokenizer` would put the rules of the model's family in place of those in the file.
        kind: Any = PreTrainedTokenizerFast if plain else AutoTokenizer
        return kind.from_pretrained(place, trust_remote_code=False)
    except _LOADING as error:
        raise ConfigError(
            f"no tokenizer loads from {place!r}: {_gist(error)}. Pass tokenizer=, or save it there"
        ) from error


def _declared_class(place: str) -> str:
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    return str(get_tokenizer_config(place).get("tokenizer_class"))


def _check(loaded: Loaded) -> None:
    model, tokenizer, name = loaded
    config = getattr(model, "config", None)
    if not callable(getattr(model, "generate", None)) or config is None:
        raise ConfigError(f"{name!r} generates no text; pass a causal language model")
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{name!r} is an encoder-decoder model; pass a causal (decoder-only) language model"
        )
    # What transformers makes of a folder without a tokenizer, and without a word about it.
    if tokenizer.get_vocab().keys() <= tokenizer.get_added_vocab().keys():
        raise ConfigError(
            f"the tokenizer of {name!r} knows no words: save the right one in the model's folder, "
            "or pass tokenizer="
        )
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the tokenizer of {name!r} has no chat template: pass the chat version of the model, "
            "or a tokenizer whose chat_template you have set"
        )


def _gist(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}".rstrip(".")
