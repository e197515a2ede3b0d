from __future__ import annotations

import threading

import pytest

from lanpo_memory import EnglishPrompts
from lanpo_rl.rewards import SectionReward, as_reward, completion_text, math_accuracy
from lanpo_rl.tiny import TinyPrompts

INTER = "### Experience Evaluation:\nfits\n### Final Plan:\nadd\n### Solution:\n\\boxed{5}"


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        (r"so \boxed{5}", "5", 1.0),
        (r"so \boxed{6}", "5", 0.0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"\boxed{1{,}000}", "1000", 1.0),
        (r"\boxed{\{1, 2\}}", r"\{2, 1\}", 1.0),
        (r"\boxed{[0, 1)}", "[0,1)", 1.0),
        (r"\boxed{[0, 1]}", "[0,1)", 0.0),
        (r"first \boxed{4}, no: \boxed{5}", "5", 1.0),
        ("no answer at all", "5", 0.0),
        ("", "5", 0.0),
    ],
)
def test_accuracy(text: str, answer: str, right: float):
    assert math_accuracy([text], [answer]) == [right]
    message = [{"role": "assistant", "content": text}]
    assert math_accuracy([message], [answer]) == [right]


def test_accuracy_works_off_the_main_thread():
    got: list[list[float]] = []
    thread = threading.Thread(target=lambda: got.append(math_accuracy([r"\boxed{5}"], ["5"])))
    thread.start()
    thread.join()
    assert got == [[1.0]]


def test_headers_count_on_guided_rollouts_only():
    reward = SectionReward(EnglishPrompts(), bonus=0.1)
    partial = INTER.replace("### Final Plan:", "Plan")
    got = reward([INTER, INTER, partial, INTER], ["inter", "none", "inter", "intra"])
    assert got == [0.1, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("last", ["### Validation:", "### Corrected Solution:"])
def test_alternative_headers(last: str):
    text = f"### Step-by-Step Verification:\n1\n### Conclusion:\nCorrect\n{last}\n5"
    assert SectionReward(EnglishPrompts())([text], ["intra"]) == [0.1]


def test_a_language_without_headers_has_no_bonus():
    assert SectionReward(TinyPrompts())([INTER], ["inter"]) == [0.0]


def test_completions_are_texts_or_messages():
    assert completion_text("a") == "a"
    messages = [
        {"role": "assistant", "content": "a"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": None},
    ]
    assert completion_text(messages) == "ab"


def test_a_function_of_one_completion_becomes_a_reward():
    reward = as_reward(lambda text, answer: float(text == answer), name="exact")
    assert reward.__name__ == "exact"
    assert reward(completions=["a", "b"], answer=["a", "a"], prompts=["p", "p"]) == [1.0, 0.0]
