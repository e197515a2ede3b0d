"""Which model a command means, and what it says about its cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanpo_memory.cli.models import check_answering, load_model
from lanpo_memory.errors import ConfigError, NoAnswerError
from lanpo_memory.ledger import Ledger
from lanpo_memory.models import LiteLLMModel
from lanpo_memory.types import Usage


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no/where"])
def test_what_looks_like_a_folder_and_is_none_is_said_to_be_none(name: str):
    with pytest.raises(ConfigError, match="there is no folder"):
        load_model(name, Ledger())


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not load as a language model"):
        load_model(str(tmp_path), Ledger())


def test_any_other_name_is_litellms():
    ledger = Ledger(max_calls=1)
    model = load_model("openai/any", ledger, api_base="http://127.0.0.1:9/v1")
    assert isinstance(model, LiteLLMModel)
    assert model.ledger is ledger


def test_silence_is_many_calls_and_no_answer_at_all():
    ledger = Ledger()
    ledger.book("solve", Usage(calls=15, failures=15))
    check_answering(ledger)
    ledger.book("solve", Usage(calls=1, failures=1))
    ledger.note("solve", "wrong key")
    with pytest.raises(NoAnswerError, match=r"none of 16 calls.*wrong key"):
        check_answering(ledger)
    ledger.book("solve", Usage(calls=1))
    check_answering(ledger)
