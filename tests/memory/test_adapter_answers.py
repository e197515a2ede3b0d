"""What a model could not say or was not asked is kept with all it takes to try again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lanpo_memory import (
    Attempt,
    Completion,
    EnglishPrompts,
    Experience,
    ExperienceMetadata,
    ExperiencePool,
    Failure,
    Guidance,
    PoolAdapter,
    Problem,
    Request,
    Rollout,
    admit_contrast,
)
from lanpo_memory.answering import answer
from lanpo_memory.errors import BudgetExceeded, InvalidInputError
from lanpo_memory.ledger import Ledger
from lanpo_memory.reflectors import critique_entry
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Messages

GOOD = '### Experience\n{"principles": ["count on"]}'


def rollouts(n: int, **more: object) -> list[Rollout]:
    return [
        Rollout(
            problem=Problem(text=f"problem number {i}"),
            completion=f"an attempt, the {i}th",
            reward=1.0,
            step=7,
            policy="p",
            group=f"g{i}",
            **more,
        )
        for i in range(n)
    ]


def memory(pool: ExperiencePool, model: ScriptedChatModel) -> PoolAdapter:
    summarizer = LLMSummarizer(prompts=EnglishPrompts(), max_tokens=99)
    return PoolAdapter(pool, summarizer=summarizer, model=model, mode="intra")


def test_an_unreadable_answer_keeps_problem_provenance_and_question():
    pool = ExperiencePool()
    guided = Guidance(kind="inter", text="x", experience_ids=("e1",), lesson_ids=("l1",))
    told = rollouts(2, guidance=guided)
    model = ScriptedChatModel([GOOD, "I would rather not."])
    seen = memory(pool, model).observe(told, step=7)
    assert [r.status for r in seen.receipts] == ["added", "failed"]
    (failed,) = pool.store.read("failure")
    assert (failed.id, failed.reason) == (seen.receipts[1].id, seen.receipts[1].reason)
    assert failed.role == "summarise"
    assert failed.text == "I would rather not."
    assert failed.problem == told[1].problem
    assert failed.metadata == ExperienceMetadata(
        reward=1.0, correct=True, source="rollout", step=7, policy="p", parents=("e1",)
    )
    assert failed.conversation == model.calls[0].conversations[1]
    assert failed.max_tokens == 99


def test_dead_letters_survive_a_snapshot(tmp_path):
    pool, again = ExperiencePool(), ExperiencePool()
    memory(pool, ScriptedChatModel("no")).observe(rollouts(2), step=7)
    again.restore(pool.snapshot(tmp_path / "s.jsonl"))
    assert again.store.read("failure") == pool.store.read("failure")
    assert len(again.store.read("failure")) == 2


def test_two_failures_without_a_word_are_two_dead_letters():
    pool = ExperiencePool()
    same = Problem(text="one problem")
    told = [
        Rollout(problem=same, completion=f"try {i}", reward=1.0, group=str(i)) for i in range(2)
    ]
    memory(pool, ScriptedChatModel([Failure(reason="timed out")] * 2)).observe(told, step=0)
    assert len(pool.store.read("failure")) == 2


class Refusing:
    """Reads every answer and rejects it."""

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        return LLMSummarizer(prompts=EnglishPrompts()).ask(rollouts)

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        return [
            Failure(reason="copied share 0.90", rollouts=(i,), status="rejected")
            for i in range(len(answers))
        ]


def test_what_was_read_and_refused_gets_a_receipt_and_is_no_dead_letter():
    pool = ExperiencePool()
    adapter = PoolAdapter(pool, summarizer=Refusing(), model=ScriptedChatModel("fine"))
    seen = adapter.observe(rollouts(2), step=7)
    assert [(r.status, r.reason) for r in seen.receipts] == [("rejected", "copied share 0.90")] * 2
    assert seen.counts == {"rejected": 2}
    assert pool.store.read("failure") == []


def test_when_the_budget_ends_all_that_happened_is_stored_before_the_error():
    pool = ExperiencePool()
    told = rollouts(100)
    model = ScriptedChatModel(GOOD, ledger=Ledger(max_calls=70))
    adapter = memory(pool, model)
    with pytest.raises(BudgetExceeded, match="max_calls=70"):
        adapter.observe(told, step=7)
    assert model.ledger.total.calls == 70  # to the last call
    assert len(pool) == 70
    assert pool.store.count("attempt") == 100
    left = pool.store.read("failure")
    assert len(left) == 30
    assert all(f.reason.startswith("not asked:") and f.conversation for f in left)
    assert {f.problem_id for f in left} == {r.problem.id for r in told[70:]}


def test_answers_come_back_to_their_rollouts_whatever_their_length_limits():
    class TwoLengths(LLMSummarizer):
        def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
            asked = super().ask(rollouts)
            return [r.model_copy(update={"max_tokens": 10 + i % 2}) for i, r in enumerate(asked)]

    def say(messages: Messages) -> str:
        said = str(messages[0]["content"])
        number = said.partition("an attempt, the ")[2][0]
        return f'{{"principles": ["lesson {"abcde"[int(number)]}"]}}'

    pool, model = ExperiencePool(), ScriptedChatModel(say)
    adapter = PoolAdapter(pool, summarizer=TwoLengths(prompts=EnglishPrompts()), model=model)
    adapter.observe(rollouts(5), step=7)
    assert [call.max_tokens for call in model.calls] == [10, 11]
    found = {e.problem.text[-1]: e.principles for e in pool.store.read("experience")}
    assert found == {str(i): (f"lesson {'abcde'[i]}",) for i in range(5)}


def test_a_critique_that_came_with_the_guidance_is_kept():
    pool = ExperiencePool()
    attempt = Attempt(problem=Problem(text="2 + 3?"), text="6")
    guidance = Guidance(kind="intra", text="t", attempt=attempt, critique="Count again.")
    entry = critique_entry(guidance)
    assert entry is not None
    told = Rollout(problem=attempt.problem, completion="5", guidance=guidance)
    PoolAdapter(pool).observe([told], step=0)
    assert pool.store.cached([entry[0]]) == [entry[1]]


def test_groups_without_a_contrast_are_not_admitted():
    group = [
        Rollout(problem=Problem(text="p"), completion=str(i), correct=correct)
        for i, correct in enumerate([None, False, True, False, True])
    ]
    assert admit_contrast()(group) == [1, 2]
    assert admit_contrast(right=5, wrong=2)(group) == [1, 2, 3, 4]
    assert admit_contrast()(group[:2]) == admit_contrast()([]) == []


def test_a_reason_that_no_store_takes_costs_nothing_else():
    pool = ExperiencePool()
    answers = [
        GOOD,
        Failure(reason="cannot decode \ud800\0", text="\0\udfff?"),
        Failure(reason="x" * 3_000_000),
    ]
    seen = memory(pool, ScriptedChatModel(answers)).observe(rollouts(3), step=7)
    assert [r.status for r in seen.receipts] == ["added", "failed", "failed"]
    assert pool.store.count("attempt") == 3
    odd, long = pool.store.read("failure")
    assert (odd.reason, odd.text) == ("cannot decode ", "?")
    assert len(long.reason) == 2_000_000


def test_questions_are_put_together_once_and_only_where_an_answer_failed():
    class Counting(LLMSummarizer):
        asked = 0

        def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
            self.asked += 1
            return super().ask(rollouts)

    summarizer = Counting(prompts=EnglishPrompts())
    adapter = PoolAdapter(ExperiencePool(), summarizer=summarizer)
    blank = [Rollout(problem=Problem(text=f"p {i}"), completion=" ", reward=1.0) for i in range(9)]
    adapter.ingest(blank, [], step=0)
    assert summarizer.asked == 1
    adapter.ingest(rollouts(1), [Completion(text=GOOD)], step=0)
    assert summarizer.asked == 1


def test_a_dead_letter_never_carries_the_question_of_another():
    class Twice(LLMSummarizer):
        def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
            return [r for r in super().ask(rollouts) for _ in range(2)]

        def read(
            self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
        ) -> list[Experience | Failure]:
            return [Failure(reason="no", text=str(i), rollouts=(0,)) for i in range(len(answers))]

    pool = ExperiencePool()
    adapter = PoolAdapter(
        pool, summarizer=Twice(prompts=EnglishPrompts()), model=ScriptedChatModel("?")
    )
    adapter.observe(rollouts(1), step=0)
    assert [f.conversation for f in pool.store.read("failure")] == [None, None]


def test_requests_of_different_roles_are_not_mixed():
    model = ScriptedChatModel("said")
    requests = [
        Request(role=role, conversation=[{"role": "user", "content": str(i)}], max_tokens=9)
        for i, role in enumerate(["summarise", "reflect", "summarise"])
    ]
    answer(model, requests)
    assert [(c.role, len(c.conversations)) for c in model.calls] == [
        ("summarise", 2),
        ("reflect", 1),
    ]


@pytest.mark.parametrize("call", ["ask", "observe"])
def test_a_single_rollout_is_no_list(call: str):
    with pytest.raises(InvalidInputError, match="give a list of rollouts"):
        getattr(PoolAdapter(ExperiencePool()), call)(rollouts(1)[0], step=0)
