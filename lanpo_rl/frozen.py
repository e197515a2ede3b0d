"""A summariser that stays as it was when the run began."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from lanpo_memory.errors import ConfigError
from lanpo_memory.ledger import Ledger
from lanpo_memory.models import TransformersModel
from lanpo_memory.types import Completion, Failure, Messages
from lanpo_rl.policy import answered_together

__all__ = ["FrozenPolicy", "frozen_copy"]


def frozen_copy(model: Any, model_init_kwargs: dict[str, Any] | None = None) -> Any:
    """Return a copy of a policy that no training will reach.

    It has to be taken before the trainer is built: a trainer binds methods to the live model, and
    a later copy would bring them along. A policy with adapters needs none: its base is frozen.

    Args:
        model: a loaded model, a folder or a name.
        model_init_kwargs: how a folder or a name is loaded.
    """
    if isinstance(model, str):
        from transformers import AutoModelForCausalLM

        copied = AutoModelForCausalLM.from_pretrained(model, **(model_init_kwargs or {}))
    else:
        copied = copy.deepcopy(model)
    copied.requires_grad_(requires_grad=False)
    return copied.train(mode=False)


class FrozenPolicy:
    """A `ChatModel` on frozen weights, collective like `PolicyModel`.

    Every rank holds the copy, answers its share, and gets all answers. Generation goes through
    transformers, whatever the policy itself is sampled with. With adapters the base model answers,
    the adapters switched off.

    Args:
        trainer: whose policy it was.
        model: from `frozen_copy`; `None` for a policy with adapters.
        ledger: counts the calls of all ranks and may hold a budget.

    Raises:
        ConfigError: weights that may be spread over ranks.
    """

    def __init__(self, trainer: Any, model: Any | None, *, ledger: Ledger | None = None) -> None:
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ConfigError(
                "summarizer_weights='frozen' needs whole weights on each rank; use 'current', or "
                "train without DeepSpeed and FSDP"
            )
        self._trainer, self._model = trainer, model
        self.ledger = Ledger() if ledger is None else ledger

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        """See `ChatModel.generate`."""
        trainer = self._trainer
        with self._weights() as weights:
            model = TransformersModel(
                weights, trainer._tokenizer, name="frozen", batch_size=64, seed=self._seed(role)
            )
            return answered_together(
                trainer.accelerator,
                conversations,
                lambda part: model.generate(
                    part, max_tokens=max_tokens, temperature=temperature, stop=stop, role=role
                ),
                ledger=self.ledger,
                role=role,
                max_tokens=max_tokens,
            )

    @contextlib.contextmanager
    def _weights(self) -> Iterator[Any]:
        device = self._trainer.accelerator.device
        if self._model is not None:
            yield self._model.to(device)
            return
        live = self._trainer.accelerator.unwrap_model(self._trainer.model)
        with live.disable_adapter():
            yield live

    def _seed(self, role: str) -> int:
        """Of the step: a resumed run draws what the uninterrupted one would have drawn."""
        trainer = self._trainer
        key = f"{trainer.args.seed}|{trainer.state.global_step}|frozen|{role}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")
