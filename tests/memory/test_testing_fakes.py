import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lanpo_memory.testing
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.protocols import ChatModel, Embedder
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel
from lanpo_memory.types import Completion, Failure


def conversation(text):
    return [{"role": "user", "content": text}]


def test_the_package_lists_what_it_offers():
    names = lanpo_memory.testing.__all__
    assert names == sorted(names)
    assert all(hasattr(lanpo_memory.testing, name) for name in names)


def test_scripted_answers_come_in_order_over_all_calls():
    model: ChatModel = ScriptedChatModel(["one", Failure(reason="busy"), Completion(text="three")])
    first = model.generate([conversation("a b c"), conversation("d")], max_tokens=5)
    second = model.generate([conversation("e")], max_tokens=5)
    assert first == [
        Completion(text="one", prompt_tokens=3, completion_tokens=1),
        Failure(reason="busy"),
    ]
    assert second == [Completion(text="three")]


def test_a_function_answers_each_conversation():
    model = ScriptedChatModel(lambda messages: messages[-1]["content"].upper())
    answers = model.generate([conversation("a"), conversation("b")], max_tokens=5)
    assert [answer.text for answer in answers] == ["A", "B"]


def test_one_string_is_the_answer_to_everything():
    model = ScriptedChatModel("yes")
    answers = model.generate([conversation("a")] * 4, max_tokens=5)
    assert [answer.text for answer in answers] == ["yes"] * 4


def test_calls_are_recorded_as_they_were_made():
    model = ScriptedChatModel("yes")
    asked = conversation("a")
    model.generate([asked], max_tokens=5, temperature=0.5, stop=["\n"], role="judge")
    asked[0]["content"] = "changed"
    (call,) = model.calls
    assert call.conversations == [conversation("a")]
    assert (call.max_tokens, call.temperature, call.stop, call.role) == (5, 0.5, ("\n",), "judge")


def test_a_script_that_is_used_up_says_so():
    model = ScriptedChatModel(["one"])
    with pytest.raises(InvalidInputError, match="all 1 scripted answers"):
        model.generate([conversation("a"), conversation("b")], max_tokens=5)


@given(st.lists(st.text(), max_size=5), st.sampled_from([1, 2, 64]))
@settings(max_examples=200, deadline=None)
def test_rows_have_length_one_and_do_not_depend_on_the_batch(texts, dim):
    embedder: Embedder = HashingEmbedder(dim)
    rows = embedder.embed(texts)
    assert rows.shape == (len(texts), dim)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0)
    for row, text in zip(rows, texts, strict=True):
        assert np.array_equal(row, embedder.embed([text])[0])


def test_shared_words_are_closer():
    rows = HashingEmbedder().embed(
        ["hens lay eggs daily", "hens lay eggs weekly", "trains run late"]
    )
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_rows_are_the_same_in_another_process():
    code = (
        "from lanpo_memory.testing import HashingEmbedder as E; "
        "print(E(8).embed(['hens lay eggs']).tobytes().hex(), end='')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert other.stdout == HashingEmbedder(8).embed(["hens lay eggs"]).tobytes().hex()


def test_the_fingerprint_names_the_space():
    assert HashingEmbedder(8).fingerprint != HashingEmbedder(9).fingerprint
    assert HashingEmbedder().fingerprint == HashingEmbedder(64).fingerprint
    with pytest.raises(ConfigError):
        HashingEmbedder(0)
