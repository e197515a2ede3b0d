"""The policy under training as a `ChatModel`."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from lanpo_memory.errors import ConfigError
from lanpo_memory.ledger import Ledger, token_bound
from lanpo_memory.types import Completion, Failure, Messages, Usage
from lanpo_rl.collective import spread
from lanpo_rl.swapping import swapped

__all__ = ["PolicyModel", "answered_together"]

# The roles that every rank takes part in, and what their share of the randomness is called: that
# decides what is sampled.
_STREAMS = {"summarise": "summaries", "canary": "canary"}


class PolicyModel:
    """Lets the policy of a `GRPOTrainer` answer, through the same path as its rollouts.

    A collective operation: every rank calls it with the same conversations, each generates a
    share, and all get all answers. Where there are several ranks it writes summaries only: what
    rank 0 alone would ask, the others would wait for. Sampling draws from a fork of the random
    state: the rollouts to come do not notice. What `stop` cuts off has been generated all the same.

    Args:
        trainer: whose policy it is; transformers and vLLM generation both work.
        ledger: counts the calls of all ranks and may hold a budget.
    """

    def __init__(self, trainer: Any, *, ledger: Ledger | None = None) -> None:
        self._trainer = trainer
        self.ledger = Ledger() if ledger is None else ledger
        self._asked: Counter[str] = Counter()  # calls of each role in step `_step`
        self._step = -1

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
        self._check_role(role)
        with self._own_randomness(role), self._settings(max_tokens, temperature):
            return answered_together(
                self._trainer.accelerator,
                conversations,
                lambda part: self._answered(part, max_tokens, stop),
                ledger=self.ledger,
                role=role,
                max_tokens=max_tokens,
            )

    def _check_role(self, role: str) -> None:
        if role not in _STREAMS and self._trainer.accelerator.num_processes > 1:
            raise ConfigError(
                f"the policy cannot {role} on several ranks: the main process alone would ask it. "
                "Give the reflector, judge or abstractor a model of its own"
            )

    def _answered(
        self, conversations: list[Messages], max_tokens: int, stop: Sequence[str]
    ) -> list[Completion | Failure]:
        """This rank's share."""
        trainer = self._trainer
        with swapped(trainer, {"environment_factories": None, "tools": []}):  # not its rollouts
            prompts, images, fields = trainer._tokenize_prompts(conversations)
        completions, _ = trainer._generate_single_turn(prompts, images, fields, 1)
        texts = trainer.processing_class.batch_decode(completions, skip_special_tokens=True)
        end = trainer._tokenizer.eos_token_id
        return [
            _completion(str(text), len(prompt), list(ids), end, max_tokens, stop)
            for text, prompt, ids in zip(texts, prompts, completions, strict=True)
        ]

    @contextlib.contextmanager
    def _own_randomness(self, role: str) -> Iterator[None]:
        trainer = self._trainer
        stream, step = _STREAMS.get(role, role), int(trainer.state.global_step)
        if step != self._step:
            self._step, self._asked = step, Counter()
        again = f"|{self._asked[role]}" if self._asked[role] else ""
        self._asked[role] += 1
        key = f"{trainer.args.seed}|{step}|{trainer.accelerator.process_index}|{stream}{again}"
        seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")
        device = trainer.accelerator.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield

    def _settings(self, max_tokens: int, temperature: float) -> AbstractContextManager[None]:
        """Length and temperature, which each backend keeps in its own place."""
        if self._trainer.use_vllm:
            values = {"max_completion_length": max_tokens, "temperature": temperature}
            return swapped(self._trainer.vllm_generation, values)
        sampling = {"do_sample": temperature > 0, "temperature": temperature or 1.0}
        return swapped(self._trainer.generation_config, {"max_new_tokens": max_tokens, **sampling})


def answered_together(
    accelerator: Any,
    conversations: Sequence[Messages],
    ask: Callable[[list[Messages]], list[Completion | Failure]],
    *,
    ledger: Ledger,
    role: str,
    max_tokens: int,
) -> list[Completion | Failure]:
    """Let every rank answer a share and book the whole on each of them.

    Ledgers of all ranks say the same, so that a budget ends on all of them at once.

    Raises:
        BudgetExceeded: the calls could cross a budget; none of them was made.
    """
    most = sum(map(token_bound, conversations)) + len(conversations) * max_tokens
    started = time.perf_counter()
    with ledger.reserve(role, calls=len(conversations), tokens=most) as held:
        answers = spread(accelerator, conversations, ask)
        share = (time.perf_counter() - started) / max(1, len(answers))
        timed = [
            answer.model_copy(update={"seconds": share})
            if isinstance(answer, Completion)
            else answer
            for answer in answers
        ]
        for answer in timed:
            tokens = (
                {
                    "prompt_tokens": answer.prompt_tokens,
                    "completion_tokens": answer.completion_tokens,
                }
                if isinstance(answer, Completion)
                else {}
            )
            held.book(Usage(calls=1, seconds=share, **tokens))
    return timed


def _completion(
    text: str, prompt_tokens: int, ids: list[int], end: int, max_tokens: int, stop: Sequence[str]
) -> Completion:
    cuts = [at for at in (text.find(mark) for mark in stop if mark) if at >= 0]
    return Completion(
        text=text[: min(cuts)] if cuts else text,
        prompt_tokens=prompt_tokens,
        completion_tokens=len(ids),
        truncated=not cuts and len(ids) >= max_tokens and end not in ids,
    )
