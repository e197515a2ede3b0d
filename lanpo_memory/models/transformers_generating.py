"""One batch of answers: what `generate` is told, and how its rows are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lanpo_memory.models.transformers_batches import left_padded, padding
from lanpo_memory.models.transformers_decoding import Answer, Sampler, StopStrings, answered
from lanpo_memory.models.transformers_identity import end_ids
from lanpo_memory.models.transformers_prompts import Tokens

__all__ = ["Row", "Settings", "generated", "settings_of"]


class Row(NamedTuple):
    """A prompt to be continued; `key` names its random numbers."""

    prompt: Tokens
    key: bytes


class Settings(NamedTuple):
    """What holds for all rows of a call; `ends` are the tokens that end an answer."""

    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...]
    ends: tuple[int, ...]
    pad: int


def settings_of(
    model: Any,
    tokenizer: Any,
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    stop: Sequence[str],
) -> Settings:
    """Return the settings of a call; a stop string that is a special token is one more end.

    A special token never shows in a text.
    """
    ends = end_ids(model, tokenizer)
    pad = padding(tokenizer, ends)
    special = [text for text in stop if text in tokenizer.all_special_tokens]
    ends += [tokenizer.convert_tokens_to_ids(text) for text in special]
    plain = tuple(text for text in stop if text not in special)
    return Settings(max_tokens, temperature, seed, plain, tuple(ends), pad)


def generated(model: Any, tokenizer: Any, batch: Sequence[Row], settings: Settings) -> list[Answer]:
    """Answer one batch, greedily or by sampling."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    ids, mask = left_padded([row.prompt.ids for row in batch], settings.pad, model.device)
    width, stop = ids.shape[1], settings.stop
    stops = StopStrings(tokenizer, stop, rows=len(batch), prompt_length=width)
    tokens = model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            max_new_tokens=settings.max_tokens,
            do_sample=False,  # the processor does it
            num_beams=1,
            use_cache=True,
            pad_token_id=settings.pad,
            eos_token_id=list(settings.ends) or None,
        ),
        logits_processor=LogitsProcessorList(_samplers(model, batch, settings, width)),
        stopping_criteria=StoppingCriteriaList([stops] if stop else []),
    )
    return [
        answered(tokenizer, row, ends=settings.ends, stop=stop, stopped_at=end)
        for row, end in zip(tokens[:, width:].tolist(), stops.ends, strict=True)
    ]


def _samplers(model: Any, batch: Sequence[Row], settings: Settings, width: int) -> list[Sampler]:
    if not settings.temperature:
        return []
    sampler = Sampler(
        [row.key for row in batch],
        seed=settings.seed,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        prompt_length=width,
        device=model.device,
    )
    return [sampler]
