"""The policy under training answers like any other chat model, and the run does not notice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lanpo_memory import Completion, ExperiencePool
from lanpo_memory.errors import BudgetExceeded, ConfigError
from lanpo_memory.ledger import Ledger
from lanpo_memory.protocols import ChatModel
from lanpo_memory.types import Usage
from lanpo_rl.policy import PolicyModel
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.tiny.policy import generate_texts
from lanpo_rl.trainer import LanpoTrainer

PROBLEMS = [e.problem for e in make_hidden_constants(0).held_out[:16]]
CONVERSATIONS = [TinyPrompts().solve(p) for p in PROBLEMS]


def texts(answers: list[Any]) -> list[str]:
    assert all(isinstance(answer, Completion) for answer in answers)
    return [answer.text for answer in answers]


def test_greedy_answers_are_those_of_the_model_itself(make_trainer: Any):
    model: ChatModel = make_trainer().policy
    answers = model.generate(CONVERSATIONS, max_tokens=16)
    reference = generate_texts(load_policy(), load_tokenizer(), CONVERSATIONS, max_new_tokens=16)
    assert texts(answers) == reference


def test_the_ledger_counts_every_answer_under_its_role(make_trainer: Any):
    model = make_trainer().policy
    answers = model.generate(CONVERSATIONS, max_tokens=3, role="judge")
    usage: Usage = model.ledger.by_role()["judge"]
    assert usage.calls == len(CONVERSATIONS)
    assert usage.prompt_tokens == sum(a.prompt_tokens for a in answers) > 0
    assert usage.completion_tokens == sum(a.completion_tokens for a in answers)
    assert usage.seconds > 0
    assert all(a.truncated and a.completion_tokens == 3 for a in answers)
    assert not model.generate([CONVERSATIONS[0]], max_tokens=20)[0].truncated


def test_a_stop_string_cuts_the_text(make_trainer: Any):
    model = make_trainer().policy
    whole = texts(model.generate(CONVERSATIONS[:4], max_tokens=16))
    cut = texts(model.generate(CONVERSATIONS[:4], max_tokens=16, stop=["\\boxed", "never"]))
    assert cut == [text.partition("\\boxed")[0] for text in whole]
    assert cut != whole


def test_sampling_repeats_and_leaves_the_runs_randomness_and_settings_alone(make_trainer: Any):
    def sampled(trainer: LanpoTrainer) -> list[str]:
        return texts(trainer.policy.generate(CONVERSATIONS, max_tokens=16, temperature=1.5))

    trainer: LanpoTrainer = make_trainer()
    before, settings = torch.get_rng_state(), trainer.generation_config.to_dict()
    first, second = sampled(trainer), sampled(trainer)
    assert first != second  # who asks again gets another sample
    assert torch.equal(torch.get_rng_state(), before)
    other: LanpoTrainer = make_trainer()
    before = torch.get_rng_state()
    assert [sampled(other), sampled(other)] == [first, second]
    assert torch.equal(torch.get_rng_state(), before)
    assert trainer.generation_config.to_dict() == settings


def test_on_several_ranks_the_policy_refuses_what_the_main_process_alone_would_ask():
    trainer = SimpleNamespace(accelerator=SimpleNamespace(num_processes=2))
    with pytest.raises(ConfigError, match="cannot reflect on several ranks"):
        PolicyModel(trainer).generate(CONVERSATIONS, max_tokens=1, role="reflect")


def test_nothing_to_answer_is_no_call(make_trainer: Any):
    model = make_trainer().policy
    assert model.generate([], max_tokens=4) == []
    assert model.ledger.by_role().get("solve", Usage()).calls == 0


def test_a_budget_ends_the_run_after_what_happened_was_stored(make_trainer: Any):
    trainer: LanpoTrainer = make_trainer()
    trainer.policy.ledger = Ledger(max_calls=0)
    with pytest.raises(BudgetExceeded, match="max_calls=0"):
        trainer.train()
    pool: ExperiencePool = trainer.memory.pool
    left = pool.store.read("failure")
    assert left
    assert all(f.reason.startswith("not asked:") and f.conversation for f in left)


def test_the_summaries_of_a_run_are_in_the_ledger(make_trainer: Any):
    trainer: LanpoTrainer = make_trainer(max_steps=2)
    trainer.train()
    written = trainer.policy.ledger.by_role()["summarise"]
    logged = sum(row.get("lanpo/summary_tokens", 0) for row in trainer.state.log_history)
    assert written.completion_tokens == logged > 0
    assert isinstance(trainer.policy, PolicyModel)
