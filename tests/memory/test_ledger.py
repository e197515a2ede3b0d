"""What is spent is counted by role, and a budget is never crossed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from lanpo_memory import Failure
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.ledger import Ledger, token_bound
from lanpo_memory.testing import ScriptedChatModel, ScriptedChoiceScorer
from lanpo_memory.types import Messages, Usage

ASK: Messages = [{"role": "user", "content": "two words"}]


def test_usage_is_kept_by_role_and_adds_up():
    model = ScriptedChatModel(["one", Failure(reason="busy"), "one two three"])
    model.generate([ASK, ASK], max_tokens=5, role="summarise")
    model.generate([ASK], max_tokens=5)
    assert model.ledger.by_role() == {
        "summarise": Usage(calls=2, failures=1, prompt_tokens=2, completion_tokens=1),
        "solve": Usage(calls=1, prompt_tokens=2, completion_tokens=3),
    }
    assert model.ledger.total == Usage(calls=3, failures=1, prompt_tokens=4, completion_tokens=4)
    assert model.ledger.total.tokens == 8


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"max_calls": 2}, "3 calls more for 'judge' would cross max_calls=2: 0 made"),
        ({"max_tokens": 8}, "9 tokens more for 'judge' would cross max_tokens=8: 0 used"),
    ],
)
def test_a_batch_that_could_cross_the_budget_is_not_begun(budget: dict[str, int], says: str):
    judge = ScriptedChoiceScorer(0.5, ledger=Ledger(**budget))
    with pytest.raises(BudgetExceeded, match=says):
        judge.choice_logprobs([ASK] * 3, ["yes", "no"])
    assert judge.asked == []
    assert judge.ledger.total == Usage()
    judge.choice_logprobs([ASK] * 2, ["yes", "no"])  # what fits is done


def test_the_budget_counts_what_was_spent_and_not_what_was_set_aside():
    model = ScriptedChatModel("one", ledger=Ledger(max_tokens=20))
    for _ in range(3):
        model.generate([ASK], max_tokens=10)  # sets 12 aside, spends 3
    with pytest.raises(BudgetExceeded, match="9 used"):
        model.generate([ASK], max_tokens=10)
    model.generate([ASK], max_tokens=9)


def test_dollars_need_a_price():
    ledger = Ledger(max_cost=0.5)
    with ledger.reserve("solve", cost=0.4) as held:
        with pytest.raises(BudgetExceeded, match=r"0\.2 US dollars .* up to 0\.4 under way"):
            ledger.reserve("solve", cost=0.2)
        held.book(Usage(calls=1, cost=0.1))
    ledger.reserve("solve", cost=0.4).release()
    with pytest.raises(ConfigError, match="no price is known"):
        ledger.reserve("solve", cost=None)
    Ledger().reserve("solve", cost=None).release()  # without a budget no price is needed


def test_what_is_set_aside_is_given_back_also_after_an_error():
    ledger = Ledger(max_calls=1)
    with pytest.raises(ZeroDivisionError), ledger.reserve("solve"):
        raise ZeroDivisionError
    ledger.reserve("solve").release()


def test_one_ledger_is_one_budget_for_several_models():
    ledger = Ledger(max_calls=2)
    ScriptedChatModel("a", ledger=ledger).generate([ASK], max_tokens=1)
    judge = ScriptedChoiceScorer(0.5, ledger=ledger)
    judge.choice_logprobs([ASK], ["yes", "no"])
    with pytest.raises(BudgetExceeded):
        judge.choice_logprobs([ASK], ["yes", "no"])
    assert sorted(ledger.by_role()) == ["judge", "solve"]


def test_threads_never_cross_a_budget_together():
    ledger = Ledger(max_calls=50)

    def one(_: int) -> bool:
        try:
            with ledger.reserve("solve") as held:
                held.book(Usage(calls=1))
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(one, range(200))) == 50
    assert ledger.total.calls == 50


@pytest.mark.parametrize(
    "budget", [{"max_calls": -1}, {"max_cost": float("nan")}, {"max_tokens": "3"}]
)
def test_a_budget_that_makes_no_sense_is_refused(budget: dict[str, float]):
    with pytest.raises(ConfigError, match="must be a number of 0 or more"):
        Ledger(**budget)


def test_the_bound_on_tokens_counts_bytes_and_takes_content_parts():
    assert token_bound([{"role": "user", "content": "ä"}]) == 18
    assert token_bound([{"role": "user", "content": [{"type": "text", "text": "abc"}]}]) > 19
    assert token_bound([{"role": "assistant", "content": None}]) == 16


def test_why_conversations_got_no_answer_is_remembered_by_role():
    answers = [Failure(reason="busy"), "one", Failure(reason="no key"), Failure(reason="busy")]
    model = ScriptedChatModel(answers)
    model.generate([ASK] * 4, max_tokens=1, role="reflect")
    assert model.ledger.reasons("reflect") == [("busy", 2), ("no key", 1)]
    assert model.ledger.reasons("solve") == []
    judge = ScriptedChoiceScorer(lambda messages: None)
    judge.choice_logprobs([ASK], ["yes", "no"])
    assert judge.ledger.reasons("judge") == [("scripted to fail", 1)]


def test_reasons_that_are_all_different_do_not_pile_up():
    ledger = Ledger()
    for i in range(1000):
        ledger.note("solve", f"request {i} failed")
    assert len(ledger.reasons("solve")) == 21
    assert ledger.reasons("solve")[0] == ("other reasons", 980)
