"""The tiny policy's tokenizer: a word or a character a token, with a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lanpo_rl.tiny.alphabet import SPECIAL_TOKENS, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["CHAT_TEMPLATE", "build_tokenizer"]

CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}<a>{{ m['content'] }}<e>"
    "{% else %}<u>{{ m['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)

# "+3" is an operator; the "+1" of "C09+14" is a plus and a digit.
_PIECES = r"\\boxed\{|[a-z]+|[+*-]\d(?!\d)|."


def build_tokenizer(vocabulary: Sequence[str] = VOCABULARY) -> PreTrainedTokenizerFast:
    """Build the tokenizer. Texts of the alphabet survive encoding and decoding unchanged.

    Hand it on as it is (`processing_class=` in TRL): `AutoTokenizer` replaces the pre-tokenizer
    when it reads a folder whose model is of type qwen2.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL_TOKENS
    numbers = {token: i for i, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordLevel(numbers, unk_token=special["unk"]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    backend.decoder = decoders.Fuse()
    build: Any = PreTrainedTokenizerFast  # its constructor is not typed
    tokenizer: PreTrainedTokenizerFast = build(
        tokenizer_object=backend,
        pad_token=special["pad"],
        eos_token=special["eos"],
        unk_token=special["unk"],
        additional_special_tokens=[special["user"], special["assistant"]],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
