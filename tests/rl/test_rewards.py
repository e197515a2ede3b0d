"""Right is right in any spelling, wrong is wrong, and nothing takes for ever."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lanpo_memory import EnglishPrompts, open_pool
from lanpo_rl.rewards import (
    RewardError,
    SectionReward,
    as_reward,
    checked,
    completion_text,
    math_accuracy,
)
from lanpo_rl.rewards.helper import Helper
from lanpo_rl.rewards.mathematics import compared
from lanpo_rl.tasks import Task, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts

INTER = "### Experience Evaluation:\nfits\n### Final Plan:\nadd\n### Solution:\n\\boxed{5}"

# reference, what the completion puts into its box, whether that is right
SAME = [
    # integers, and how they are grouped
    ("5", "5"),
    ("5", "+5"),
    ("-5", "-5"),
    ("0", "-0"),
    ("007", "7"),
    ("5", "5."),
    ("5", "5.0"),
    ("1000", "1,000"),
    ("1,000,000", "1000000"),
    ("1000", r"1\,000"),
    ("1000", "1{,}000"),
    ("12000", "12 000"),
    ("1000", "10^3"),
    ("1000", "1e3"),
    ("0.0012", "1.2e-3"),
    ("1024", "2^{10}"),
    ("120", "5!"),
    ("9" * 5000, "9" * 5000),
    # fractions, decimals, mixed numbers
    ("1/2", r"\frac{1}{2}"),
    ("1/2", r"\dfrac12"),
    (r"\frac{1}{2}", "0.5"),
    ("1/2", ".5"),
    ("2/4", "1/2"),
    ("-1/2", r"\frac{-1}{2}"),
    ("1/3", "0.333333"),
    ("1 1/2", r"1\frac{1}{2}"),
    ("3/2", "1 1/2"),
    ("-1 1/2", "-3/2"),
    ("1.5", r"1\frac12"),
    # percentages: with and without the sign
    ("50%", r"50\%"),
    ("50%", "50 percent"),
    ("50%", "50"),
    ("12.5", r"12.5\%"),
    ("50%", "0.5"),
    # words
    ("Tuesday", "tuesday"),
    ("Tuesday", r"\text{Tuesday}"),
    ("blue", r"\textbf{blue}"),
    ("True", "true"),
    ("New York", r"\text{New York}"),
    ("North", "north."),
    ("no solution", r"\text{No solution}"),
    ("infinity", r"\infty"),
    ("pi", r"\pi"),
    # letters of a choice
    ("A", "(A)"),
    ("(C)", r"\text{C}"),
    ("B", r"\textbf{(B)}"),
    ("E", "E"),
    # sets, lists, tuples
    (r"\{1,2\}", r"\{2,1\}"),
    ("{1,2}", r"\{1,2\}"),
    ("1, 2", r"1 \text{ and } 2"),
    ("1,2", r"x=1 \text{ or } x=2"),
    (r"\pm 2", "2,-2"),
    (r"\{1/2,3\}", r"\{3,0.5\}"),
    (r"\emptyset", r"\varnothing"),
    ("(2,1)", r"\left(2, 1\right)"),
    ("(1/2,3)", "(0.5,3)"),
    ("(1,2,3)", "(1,2,3)"),
    # intervals
    ("[0,1)", r"\left[0,1\right)"),
    ("[0,0.5]", r"[0,\frac12]"),
    ("x<2", r"(-\infty,2)"),
    ("[0,1)", r"0\le x<1"),
    (r"(1,\infty)\cup(-\infty,0)", r"(-\infty,0) \cup (1,\infty)"),
    # formulas
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("x=5", "5"),
    ("y=2x+3", "2x+3"),
    (r"ab", r"a \cdot b"),
    ("3+4i", "4i+3"),
    (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("9^{9^{9}}", "9^{9^{9}}"),
    # units and currencies
    ("5 cm", r"5\,\text{cm}"),
    ("5", "5 km/h"),
    ("12 m^2", "12"),
    ("90", r"90^\circ"),
    ("18.90", r"\$18.9"),
    ("5 dollars", r"\$5"),
    ("10:30", "10:30"),
    ("$5$", "5"),
]
# the other way round they would not be equal, or could not stand
ONE_WAY = [
    ("A", "a"),
    ("A", "A."),
    ("D", "(D) 5"),
    ("5", r"\textbf{(D)} 5"),
    ("B", "B. the sum is even"),
    (r"\boxed{5}", "5"),
    ("2,1", "(1,2)"),  # of a bare list the order is free, of a pair it is not
]
DIFFERENT = [
    ("5", "-5"),
    ("5", "6"),
    ("1/2", "2"),
    ("1/3", "0.33"),
    ("11/2", "1 1/2"),
    ("1.5", "1,5"),  # a list of two: the comma is no decimal point
    ("50%", "5"),
    ("Tuesday", "Monday"),
    ("no", "on"),  # as products of letters they would be equal
    ("blue", "lube"),
    ("evil", "live"),
    ("True", "False"),
    ("New York", "York"),
    ("Tuesday", "e"),
    ("A", "B"),
    ("A", "A, B"),
    ("E", "2.71828182845904"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    (r"\{1,2\}", "(1,2)"),  # a set and a pair
    ("(1,2)", "(2,1)"),
    ("(5,-3)", "(7,-9)"),
    ("(3,1)", r"\emptyset"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "2,1"),
    ("[0,1)", "[0,1]"),
    (r"-\infty", r"\infty"),
    (r"\sqrt{2}", "1.4"),
    (r"\pi", "3.14"),
    ("x=5", "y=5"),
    ("x", "y"),
    ("x^2+1", "x^2-1"),
    ("5", "5 pi"),
    ("5", "5 or 6"),
    ("5", "5 million"),
    ("3:2", "2:3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
]


def rewarded(gold: str, text: str) -> float:
    return math_accuracy([text], [gold])[0]


def box(answer: str) -> str:
    return rf"so \boxed{{{answer}}}"


@pytest.mark.parametrize(("gold", "answer"), [*SAME, *ONE_WAY])
def test_one_answer_in_two_spellings(gold: str, answer: str):
    assert rewarded(gold, box(answer)) == 1.0


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_two_answers(gold: str, answer: str):
    assert rewarded(gold, box(answer)) == 0.0
    if (answer, gold) != ("2,1", "(1,2)"):
        assert rewarded(answer, box(gold)) == 0.0


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_either_may_be_the_reference(gold: str, answer: str):
    assert rewarded(answer, box(gold)) == 1.0


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        (r"first \boxed{4}, no: \boxed{5}", "5", 1.0),
        (r"first \boxed{4}, no: \boxed{5}", "4", 0.0),
        (r"\boxed{4}, then \boxed{5", "4", 1.0),  # the last one that is closed
        (r"\boxed{4}, then \boxed{}", "4", 1.0),
        (r"the answer is 5. \boxed{}", "5", 0.0),
        (r"the answer is 5. \boxed{ ", "5", 0.0),
        (r"\boxed{5", "5", 0.0),
        (r"\boxed{\frac{1}{2}", "1/2", 0.0),
        (r"\boxed{5}}", "5", 1.0),
        (r"\boxed{\boxed{5}}", "5", 1.0),
        (r"\boxed{{{5}}}", "5", 1.0),
        (r"\fbox{5}", "5", 1.0),
        (r"$\boxed{5}$ and 6 more", "5", 1.0),
        ("\\boxed{\n5\n}", "5", 1.0),
        ("The answer is 1/2.", "1/2", 1.0),
        ("The answer is $\\frac{1}{2}$.", "0.5", 1.0),
        ("#### 3", "3", 1.0),
        ("**Answer: B**", "B", 1.0),
        ("The answer is (B).", "B", 1.0),
        ("The answer is Tuesday.", "Tuesday", 1.0),
        ("It is not Tuesday.", "Tuesday", 0.0),
        ("no answer at all", "5", 0.0),
        ("", "5", 0.0),
        (" \n", "5", 0.0),
        ("\0" * 100 + box("5\0"), "5", 1.0),
        ("\ud800" + box("5\ud800"), "5", 1.0),
        ("x" * 100_000 + box("5"), "5", 1.0),
    ],
)
def test_where_the_answer_stands(text: str, gold: str, right: float):
    assert rewarded(gold, text) == right
    assert math_accuracy([[{"role": "assistant", "content": text}]], [gold]) == [right]


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9}}",
        "1^{9^{9^9}}",
        r"\frac{1}{9^{9^9}}",
        "(10^{10})!",
        "99999999!",
        r"\sum_{i=1}^{10000000000} i",
        r"\prod_{i=1}^{10000000000} i",
        r"\binom{10^9}{10^8}",
    ],
)
def test_a_number_of_too_many_digits_is_not_worked_out(
    answer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("math_verify.verify", None)
    assert rewarded("4", box(answer)) == 0.0
    assert rewarded(answer, box("4")) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        box("9" * 5000 + "/7"),
        box("(" * 200 + "5" + ")" * 200),
        box("x^{" * 150 + "2" + "}" * 150),
        box("{" * 50_000 + "}" * 50_000),
        box("1+" * 50_000 + "1"),
        "{" * 100_000,
        r"\boxed{" * 20_000,
    ],
    ids=lambda text: text[:24],
)
def test_what_is_too_long_or_too_deep_is_not_read(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lanpo_rl.rewards.mathematics._read", lambda text: pytest.fail(text[:99]))
    assert rewarded("4", text) == 0.0


@pytest.mark.parametrize("piece", ["1 ", "$", r"\frac", "(", "$x$ ", "= ", "final answer is "])
def test_floods_without_a_box_are_wrong(piece: str):
    assert rewarded("4", piece * (100_000 // len(piece))) == 0.0


def test_an_expression_too_deep_for_the_interpreter_is_wrong():
    assert rewarded("4", box("5" + "!" * 400)) == 0.0


def test_what_takes_too_long_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lanpo_rl.rewards.mathematics.LIMIT_S", 1)
    assert rewarded("4", box(r"(x+y+z+w)^{60}")) == 0.0


def test_the_bound_holds_where_an_exception_would_be_lost(monkeypatch: pytest.MonkeyPatch):
    """An alarm mostly rings in this callback, whose exceptions Python reports and forgets."""
    monkeypatch.setattr("lanpo_rl.rewards.mathematics.LIMIT_S", 1)
    before = gc.get_threshold()

    def collected(phase: str, info: dict[str, int]) -> None:
        ends = time.monotonic() + 0.002
        while time.monotonic() < ends:
            pass

    gc.callbacks.append(collected)
    gc.set_threshold(50)
    started = time.monotonic()
    try:
        assert rewarded("4", box(r"(x+y+z+w)^{60}")) == 0.0
    finally:
        gc.callbacks.remove(collected)
        gc.set_threshold(*before)
    assert time.monotonic() - started < 20.0  # without a bound it takes minutes


def test_a_row_without_a_reference_is_not_scored():
    got = math_accuracy([box("None"), box(""), box("5")], [None, " ", 5])
    assert np.isnan(got).tolist() == [True, True, False]
    assert got[2] == 1.0


# ------------------------------------------------------------------ signals and threads


def test_the_users_alarm_and_handler_are_put_back():
    def mine(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGALRM, mine)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1000.0, 7.0)
        assert rewarded("1/2", box(r"\frac{2}{4}")) == 1.0
        left, interval = signal.setitimer(signal.ITIMER_REAL, 0.0)
        assert 0 < left <= 1000.0
        assert interval == 7.0
        assert signal.getsignal(signal.SIGALRM) is mine
        assert rewarded("1/2", box(r"\frac{2}{5}")) == 0.0
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_an_alarm_that_was_due_meanwhile_rings_late_but_rings():
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        while not rung:
            rewarded("1/2", box(r"\frac{2}{4}"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]


def test_eight_threads_at_once_get_the_same_results():
    golds, texts = zip(*[(g, box(a)) for g, a in [*SAME, *DIFFERENT]], strict=True)
    expected = math_accuracy(texts, golds)
    assert expected == [1.0] * len(SAME) + [0.0] * len(DIFFERENT)
    handler = signal.getsignal(signal.SIGALRM)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: math_accuracy(texts, golds), range(8)))
    assert got == [expected] * 8
    assert signal.getsignal(signal.SIGALRM) is handler


def test_on_another_thread_a_comparison_is_bounded_too(monkeypatch: pytest.MonkeyPatch):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(rewarded, "4", box("(x+y+z+w)^{60}")).result() == 0.0
        assert pool.submit(rewarded, "1/2", box("0.5")).result() == 1.0


SLOW = "import sys; print('ready', flush=True); sys.stdin.read()"
DYING = "import sys; sys.stdin.readline(); print('ready', flush=True); sys.stdin.readline()"


@pytest.mark.parametrize("program", [SLOW, DYING], ids=["stuck", "dies"])
def test_a_process_that_does_not_answer_is_replaced(program: str):
    helper = Helper((sys.executable, "-c", program), limit_s=0.01)
    assert helper.compared([("4", "1/2", True), ("4", "1/3", True)]) == [False, False]
    assert helper._process is None


def test_the_process_ends_with_the_one_that_started_it():
    started = subprocess.run(
        [sys.executable, "-m", "lanpo_rl.rewards.helper"],
        input='\n["1/2", "0.5", true]\n["1/2", "0.4", true]\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout.split() == ["ready", "true", "false"]


def test_of_nothing_nothing_is_compared():
    assert compared([]) == []
    assert math_accuracy([], []) == []


# ------------------------------------------------------------------ headers


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


# ------------------------------------------------------------------ functions of users


def test_completions_are_texts_or_messages():
    assert completion_text("a") == "a"
    messages = [
        {"role": "assistant", "content": "a"},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "image"}]},
    ]
    assert completion_text(messages) == "abc"


def exact(text: str, answer: str) -> float:
    return float(text == answer)


async def exact_later(text: str, answer: str) -> float:
    await asyncio.sleep(0)
    return float(text == answer)


BATCH = {"completions": ["a", "b"], "answer": ["a", "a"], "prompts": ["p", "p"]}


def test_a_function_of_one_completion_becomes_a_reward():
    reward = as_reward(exact, name="exact")
    assert reward.__name__ == "exact"
    assert reward(**BATCH) == [1.0, 0.0]


def test_an_async_function_becomes_an_async_reward_that_trl_recognises():
    from trl.trainer.utils import get_callable_name, is_async_callable

    for reward in (as_reward(exact_later, name="later"), checked(as_reward(exact_later))):
        assert is_async_callable(reward)
        assert asyncio.run(reward(**BATCH)) == [1.0, 0.0]
    assert get_callable_name(checked(as_reward(exact_later, name="later"))) == "later"


def test_async_scores_run_at_once_and_come_in_order():
    waiting: list[asyncio.Event] = []

    async def last_first(text: str, answer: str) -> float:
        mine = asyncio.Event()
        waiting.append(mine)
        if len(waiting) == 8:  # all have begun: let them go, the last one first
            for event in reversed(waiting):
                event.set()
        await mine.wait()
        return float(text)

    texts = [str(i) for i in range(8)]
    reward = as_reward(last_first, concurrency=8)
    assert asyncio.run(reward(completions=texts, answer=texts)) == list(map(float, texts))


def test_not_more_async_scores_run_at_once_than_allowed():
    running = most = 0

    async def counting(text: str, answer: str) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 0.0

    texts = ["a"] * 20
    assert asyncio.run(as_reward(counting, concurrency=3)(texts, texts)) == [0.0] * 20
    assert most == 3


def test_a_score_that_raises_names_function_row_and_completion():
    def broken(text: str, answer: str) -> float:
        raise KeyError(text)

    async def broken_later(text: str, answer: str) -> float:
        if text == "b":
            raise KeyError(text)
        await asyncio.Event().wait()  # is cancelled
        return 0.0

    said = r"the reward function 'mine' raised KeyError: 'b' on row 1, 'b'"
    with pytest.raises(RewardError, match=said) as caught:
        checked(as_reward(lambda t, a: 1.0 if t == "a" else broken(t, a), name="mine"))(**BATCH)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(RewardError, match=said) as caught:
        asyncio.run(checked(as_reward(broken_later, name="mine"))(**BATCH))
    assert isinstance(caught.value.__cause__, KeyError)


# ------------------------------------------------------------------ checked


def returning(value: object) -> object:
    def mine(**columns: object) -> object:
        return value

    return mine


@pytest.mark.parametrize(
    ("value", "rewards"),
    [
        ([1, 0.5], [1.0, 0.5]),
        ((True, False), [1.0, 0.0]),
        (torch.tensor([1.0, 0.5]), [1.0, 0.5]),
        (torch.tensor([1, 0], dtype=torch.bfloat16), [1.0, 0.0]),
        ([torch.tensor(1.0), torch.tensor(0.5)], [1.0, 0.5]),
        (np.array([1.0, 0.5], dtype=np.float32), [1.0, 0.5]),
        ([np.float64(1.0), np.int64(0)], [1.0, 0.0]),
        ((x for x in [1.0, 0.0]), [1.0, 0.0]),
    ],
)
def test_rewards_of_any_kind_of_number(value: object, rewards: list[float]):
    assert checked(returning(value))(**BATCH) == rewards


@pytest.mark.parametrize("none", [None, float("nan"), torch.tensor(float("nan"))])
def test_none_and_nan_mean_not_scored(none: object):
    got = checked(returning([none, 1.0]))(**BATCH)
    assert np.isnan(got[0])
    assert got[1] == 1.0


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([1.0], "returned 1 rewards for 2 completions; return one for each"),
        ([1.0, float("inf")], "returned inf in row 1; a reward must be finite"),
        ([float("-inf"), 0.0], "returned -inf in row 0"),
        ([1e39, 0.0], r"returned 1e\+39 in row 0"),
        ([10**400, 0.0], "returned inf in row 0"),
        ([1.0, "good"], "returned str in row 1; a reward is a number, or None"),
        ([1.0, 1j], "returned complex in row 1"),
        (torch.ones(2, 1), "returned list in row 0"),
        (1.0, "returned float; return a list, one reward a completion"),
        (None, "returned NoneType; return a list"),
        ("good", "returned str; return a list"),
        (torch.tensor(1.0), "returned Tensor; return a list"),
    ],
)
def test_what_is_no_list_of_rewards_is_named(value: object, fault: str):
    with pytest.raises(RewardError, match=f"the reward function 'mine' {fault}"):
        checked(returning(value))(**BATCH)


def test_a_function_that_raises_is_named_and_what_it_raised_kept():
    def mine(completions: list[str], answer: list[str], grade: list[str], **_: object) -> None: ...

    with pytest.raises(RewardError, match=r"'mine' raised TypeError: .*'grade' on a batch of 2"):
        checked(mine)(**BATCH)

    async def later(**columns: object) -> None:
        raise ValueError

    with pytest.raises(RewardError, match="'later' raised ValueError on a batch") as caught:
        asyncio.run(checked(later)(**BATCH))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_coroutine_of_a_plain_function_is_named():
    later = as_reward(exact_later)
    with pytest.raises(RewardError, match="returned a coroutine; define it with `async def`"):
        checked(lambda **columns: later(**columns))(**BATCH)


class Judge:
    def __call__(self, completions: list[str], **_: object) -> list[float]:
        return [1.0 for _ in completions]


class LateJudge:
    async def __call__(self, completions: list[str], **_: object) -> list[float]:
        return [1.0 for _ in completions]


def test_objects_and_partials_keep_name_and_kind():
    assert checked(Judge()).__name__ == "Judge"
    assert checked(Judge())(**BATCH) == [1.0, 1.0]
    assert asyncio.run(checked(LateJudge())(**BATCH)) == [1.0, 1.0]
    partial = functools.partial(math_accuracy, answer=["1", "2"])
    assert checked(partial).__name__ == "math_accuracy"
    assert checked(partial)(completions=[box("1"), box("1")]) == [1.0, 0.0]


def test_models_names_and_what_is_checked_pass_through():
    once = checked(math_accuracy)
    sections = SectionReward(EnglishPrompts())
    for one in (torch.nn.Linear(1, 1), "some/model", sections, once):
        assert checked(one) is one


# ------------------------------------------------------------------ in training


def raising_at(call: int, task: Task):
    reward, calls = as_reward(task.reward), 0

    def mine(**columns: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ZeroDivisionError("no judge")
        return reward(**columns)

    return mine


def test_a_reward_that_raises_stores_nothing_of_its_step_and_loses_nothing(
    make_trainer: Any, tmp_path: Path
):
    task = make_hidden_constants(0)
    pool = str(tmp_path / "pool.db")
    trainer = make_trainer(pool=pool, options={"reward_funcs": checked(raising_at(3, task))})
    with pytest.raises(RewardError, match="'mine' raised ZeroDivisionError: no judge on a batch"):
        trainer.train()
    assert trainer.state.global_step == 2
    trainer.memory.pool.close()
    whole = str(tmp_path / "whole.db")
    twin = make_trainer(
        pool=whole, max_steps=2, options={"reward_funcs": checked(raising_at(99, task))}
    )
    twin.train()
    twin.memory.pool.close()
    with open_pool(pool) as kept, open_pool(whole) as other:
        assert len(kept) > 0
        assert kept.digest() == other.digest()


def test_unscored_rollouts_train_and_are_stored_without_a_verdict(make_trainer: Any):
    task = make_hidden_constants(0)
    reward = as_reward(task.reward)

    def mine(**columns: Any) -> list[float | None]:
        rewards = reward(**columns)
        return [None if i % 4 == 0 else rewards[i] for i in range(len(rewards))]

    trainer = make_trainer(max_steps=2, options={"reward_funcs": checked(mine)})
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
