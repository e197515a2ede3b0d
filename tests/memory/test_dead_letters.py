"""Failed answers, read again: by the parser, by asking, and never lost in between."""

from __future__ import annotations

import json

import pytest

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.dead_letters import read_again, retry
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import open_pool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import (
    Attempt,
    Batch,
    Completion,
    Experience,
    ExperienceMetadata,
    FailedAnswer,
    Failure,
    Limits,
    Problem,
    Rollout,
)

PROMPTS = EnglishPrompts()
GOOD = json.dumps({"principles": ["Look for what stays the same."]})
ATTEMPT = "First I take the three eggs away, then I sell all the others at the market."


@pytest.fixture(params=["memory:", "pool.db"])
def pool(request, tmp_path):
    url = request.param if request.param == "memory:" else tmp_path / request.param
    with open_pool(url, clock=lambda: 7.0) as opened:
        yield opened


def problem(i=0):
    return Problem(text=f"How many eggs are in basket {i}?", id=f"p{i}")


def letter(i=0, text="I am sorry.", *, asked=True, **fields):
    """A failed summary as the adapter keeps it."""
    metadata = ExperienceMetadata(reward=1.0, correct=True, source="rollout", step=i, policy="π")
    kept = {
        "role": "summarise",
        "problem_id": problem(i).id,
        "reason": "no JSON object in the answer",
        "step": i,
        "problem": problem(i),
        "metadata": metadata,
        "conversation": PROMPTS.summarise(problem(i), ATTEMPT) if asked else None,
        "max_tokens": 99,
    }
    return FailedAnswer(**{**kept, "text": text, **fields})


def keep(pool, *letters):
    pool.write(Batch(failures=letters))
    return letters


def left(pool):
    return [each.id for each in pool.store.read("failure")]


def again(pool, **options):
    return retry(pool, prompts=PROMPTS, **options)


def statuses(receipts):
    return [receipt.status for receipt in receipts]


def test_what_todays_parser_reads_becomes_an_experience_and_leaves(pool):
    bad, good = keep(pool, letter(0), letter(1, GOOD))
    receipts = again(pool)
    (stored,) = pool.store.read("experience")
    assert [(r.status, r.id) for r in receipts] == [("failed", bad.id), ("added", stored.id)]
    assert receipts[0].reason == "no JSON object in the answer"
    assert stored.problem == problem(1)
    assert stored.principles == ("Look for what stays the same.",)
    assert stored.metadata == good.metadata.model_copy(update={"created_at": 7.0})
    assert left(pool) == [bad.id]


def test_an_experience_and_the_end_of_its_failure_are_one_transaction(pool, monkeypatch):
    keep(pool, *(letter(i, GOOD) for i in range(3)))
    batches = []
    write = pool.store.write
    monkeypatch.setattr(pool.store, "write", lambda b, **kw: batches.append(b) or write(b, **kw))
    again(pool)
    (batch,) = batches
    assert (len(batch.experiences), len(batch.deletions)) == (3, 3)


def test_when_writing_fails_nothing_is_lost(pool, monkeypatch):
    (kept,) = keep(pool, letter(0, GOOD))

    def full(batch, **options):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(pool.store, "write", full)
        with pytest.raises(OSError, match="no space"):
            again(pool)
    assert (left(pool), len(pool)) == ([kept.id], 0)


def test_a_model_is_asked_for_what_cannot_be_read_and_only_for_that(pool):
    bad, _ = keep(pool, letter(0), letter(1, GOOD))
    model = ScriptedChatModel([GOOD])
    assert statuses(again(pool, model=model)) == ["added", "added"]
    (call,) = model.calls
    assert (call.conversations, call.max_tokens) == ([bad.conversation], 99)
    assert call.role == "summarise"
    stored = {e.problem.id: e.metadata for e in pool.store.read("experience")}
    assert stored["p0"] == bad.metadata.model_copy(update={"created_at": 7.0})
    assert left(pool) == []


def test_what_fails_again_stays_with_todays_reason(pool):
    kept = keep(pool, letter(0), letter(1), letter(2))
    model = ScriptedChatModel(["Sorry.", Failure(reason="HTTP 500"), "<think>\nHm."])
    receipts = again(pool, model=model)
    assert [(r.status, r.id) for r in receipts] == [("failed", each.id) for each in kept]
    assert [r.reason for r in receipts] == [
        "no JSON object in the answer",
        "HTTP 500",
        "the answer is all thinking, and was cut before it ended",
    ]
    assert pool.store.read("failure") == list(kept)


def test_a_cut_answer_says_so(pool):
    keep(pool, letter(0))
    model = ScriptedChatModel([Completion(text='{"principles": ["a', truncated=True)])
    assert "token limit" in again(pool, model=model)[0].reason


def test_length_limits_are_kept_and_receipts_come_oldest_first(pool):
    keep(pool, letter(0, max_tokens=5), letter(1, GOOD), letter(2, max_tokens=9), letter(3))
    model = ScriptedChatModel(lambda messages: GOOD if "basket 2" in str(messages) else "?")
    receipts = again(pool, model=model)
    assert statuses(receipts) == ["failed", "added", "added", "failed"]
    assert [call.max_tokens for call in model.calls] == [5, 9, 99]


def test_what_is_there_already_is_a_duplicate_and_leaves(pool):
    keep(pool, letter(0, GOOD), letter(0, GOOD + " "))
    pool.add([Experience(problem=problem(0), principles=("Look for what stays the same.",))])
    assert statuses(again(pool)) == ["duplicate", "duplicate"]
    assert (left(pool), len(pool)) == ([], 1)


def test_what_the_pool_refuses_for_its_limits_leaves(tmp_path):
    with open_pool(tmp_path / "pool.db", limits=Limits(per_step=1)) as pool:
        keep(pool, letter(0, GOOD), letter(0, '{"pitfalls": ["guessing"]}'))
        receipts = again(pool)
        assert statuses(receipts) == ["added", "rejected"]
        assert "new experiences of this step" in receipts[1].reason
        assert left(pool) == []


def test_a_summary_that_copies_is_refused_as_it_would_have_been_at_first(pool):
    copied = json.dumps({"principles": [ATTEMPT]})
    keep(pool, letter(0, copied), letter(1))
    model = ScriptedChatModel([copied])
    receipts = again(pool, model=model)
    assert statuses(receipts) == ["rejected", "rejected"]
    assert "copied share 1.00" in receipts[0].reason
    assert (left(pool), len(pool)) == ([], 0)


def test_the_check_sees_the_completions_and_not_the_rest_of_the_prompt(pool):
    seen = []

    def check(problem, completions, summary):
        seen.append((problem.id, list(completions)))

    keep(pool, letter(0, GOOD), letter(1, GOOD, asked=False))
    keep(pool, letter(2, GOOD, conversation=[{"role": "user", "content": "Sum it up: 2 + 3"}]))
    assert statuses(again(pool, check=check)) == ["added"] * 3
    assert seen == [("p0", [ATTEMPT]), ("p1", []), ("p2", ["Sum it up: 2 + 3"])]


def test_without_a_check_copies_are_taken(pool):
    keep(pool, letter(0, json.dumps({"principles": [ATTEMPT]})))
    assert statuses(again(pool, check=None)) == ["added"]


@pytest.mark.parametrize("known_by", ["experience", "attempt", "sibling"])
def test_the_problem_of_an_old_record_is_looked_up(pool, known_by):
    old = {"problem": None, "metadata": None, "asked": False}
    if known_by == "experience":
        pool.add([Experience(problem=problem(4), thoughts="x")])
    elif known_by == "attempt":
        pool.write(Batch(attempts=(Attempt(problem=problem(4), text="five"),)))
    else:
        keep(pool, letter(4))
    keep(pool, letter(4, GOOD, **old))
    assert again(pool)[-1].status == "added"
    stored = pool.store.read("experience")[-1]
    assert stored.problem == problem(4)
    assert (stored.metadata.step, stored.metadata.correct) == (4, None)


def test_an_old_record_of_an_unknown_problem_stays_and_says_why(pool):
    (kept,) = keep(pool, letter(0, GOOD, problem=None, metadata=None, asked=False))
    (receipt,) = again(pool, model=ScriptedChatModel([]))
    assert (receipt.status, receipt.id) == ("failed", kept.id)
    assert "problem is not known" in receipt.reason
    assert left(pool) == [kept.id]


def test_an_answer_that_never_came_keeps_its_reason(pool):
    keep(pool, letter(0, "", asked=False, reason="not asked: the budget ended"))
    assert again(pool)[0].reason == "not asked: the budget ended"


def test_other_roles_are_read_if_they_can_be_and_never_asked_for(pool):
    keep(pool, letter(0, "A: 5", role="import"), letter(1, GOOD, role="import"))
    receipts = again(pool, model=ScriptedChatModel([]))
    assert statuses(receipts) == ["failed", "added"]


def test_what_the_adapter_kept_can_be_asked_for_again(pool):
    memory = PoolAdapter(
        pool,
        guide=Guide(pool),
        summarizer=LLMSummarizer(prompts=PROMPTS),
        model=ScriptedChatModel("I am sorry."),
    )
    rollout = Rollout(problem=problem(3), completion=ATTEMPT, correct=True, step=3, policy="π")
    assert statuses(memory.observe([rollout], step=3).receipts) == ["failed"]
    assert statuses(again(pool, model=ScriptedChatModel([GOOD]))) == ["added"]
    (stored,) = pool.store.read("experience")
    assert (stored.problem, stored.metadata.correct, stored.metadata.step) == (problem(3), True, 3)


def test_what_was_asked_before_the_budget_ends_is_stored(pool):
    keep(pool, *(letter(i) for i in range(7)))
    model = ScriptedChatModel(GOOD, ledger=Ledger(max_calls=5))
    told = []
    with pytest.raises(BudgetExceeded, match="max_calls=5"):
        again(pool, model=model, chunk=4, progress=told.extend)
    assert (len(pool), len(left(pool)), model.ledger.total.calls) == (5, 2, 5)
    assert statuses(told) == ["added"] * 5
    assert statuses(again(pool, model=ScriptedChatModel(GOOD))) == ["added"] * 2


def test_no_more_conversations_at_once_than_told(pool):
    keep(pool, *(letter(i) for i in range(5)))
    model = ScriptedChatModel(GOOD)
    again(pool, model=model, chunk=2)
    assert [len(call.conversations) for call in model.calls] == [2, 2, 1]


def test_every_answer_is_told_of_once(pool):
    keep(pool, *(letter(i, GOOD if i % 3 else "?") for i in range(300)))
    told = []
    receipts = again(pool, model=ScriptedChatModel(GOOD), progress=told.extend)
    assert len(receipts) == len(told) == 300
    assert {r.id for r in told} == {r.id for r in receipts}
    assert (len(pool), left(pool)) == (300, [])


def test_what_never_got_an_answer_is_asked_for_first_then_the_oldest(pool):
    silent = {"text": "", "reason": "not asked: the budget ended"}
    kept = keep(
        pool,
        letter(0),
        letter(1, max_tokens=5),
        letter(2, **silent),
        letter(3, **{**silent, "text": " \n"}, max_tokens=5),
        letter(4),
        letter(5, **silent),
    )
    model = ScriptedChatModel("Sorry.")
    receipts = again(pool, model=model, chunk=1)
    asked = [call.conversations[0] for call in model.calls]
    assert asked == [kept[i].conversation for i in (2, 5, 3, 0, 4, 1)]
    assert [receipt.id for receipt in receipts] == [each.id for each in kept]


def test_what_stays_unreadable_keeps_no_new_one_from_being_asked_for(pool):
    keep(pool, *(letter(i) for i in range(4)), letter(4, ""), letter(5, GOOD))
    model = ScriptedChatModel(GOOD, ledger=Ledger(max_calls=1))
    with pytest.raises(BudgetExceeded):
        again(pool, model=model)
    assert {e.problem.id for e in pool.store.read("experience")} == {"p4", "p5"}


def test_what_somebody_else_settles_meanwhile_is_no_loss(pool):
    keep(pool, letter(0), letter(1))

    def answer(messages):
        again(pool, model=ScriptedChatModel(GOOD))  # another process is faster
        return GOOD

    receipts = again(pool, model=ScriptedChatModel(answer), chunk=1)
    assert statuses(receipts) == ["duplicate", "duplicate"]
    assert (len(pool), left(pool)) == (2, [])


def test_looking_changes_nothing(pool):
    kept = keep(pool, letter(0), letter(1, GOOD))
    before = pool.digest()
    seen = list(read_again(pool, prompts=PROMPTS))
    assert [each for each, _ in seen] == list(kept)
    assert [type(found) for _, found in seen] == [Failure, Experience]
    assert (pool.digest(), left(pool)) == (before, [each.id for each in kept])


def test_a_pool_without_failures_has_nothing_to_retry(pool):
    assert again(pool, model=ScriptedChatModel([])) == []


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"chunk": -1}, {"check": "none"}])
def test_limits_that_make_no_sense_are_refused(pool, wrong):
    with pytest.raises(ConfigError):
        again(pool, **wrong)
