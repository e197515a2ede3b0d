"""What comes in wrong: said once and clearly, and nothing that was stored is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.types import Completion, Problem
from lanpo_rl.rewards import RewardError
from lanpo_rl.tasks import make_chains, make_hidden_constants
from tests.rl.spies import Spy, few, last_log, pool_of

MakeTrainer = Callable[..., Spy]
ROWS = make_hidden_constants(0).train[:16]


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# ---------------------------------------------------------------------- datasets


def test_rows_without_ids_get_fingerprints(make_trainer: MakeTrainer):
    rows = [{"prompt": asked(e.problem.text), "answer": e.answer} for e in ROWS]
    trainer = make_trainer(
        "recommended", kind=Spy, options={"train_dataset": Dataset.from_list(rows)}, max_steps=2
    )
    trainer.train()
    ids = {p.id for plan in trainer.plans for p in plan.problems_P}
    assert ids <= {Problem(text=e.problem.text).id for e in ROWS}
    assert len(ids) == 8


@pytest.mark.parametrize("streamed", [False, True])
def test_one_problem_with_two_answers_is_named(make_trainer: MakeTrainer, streamed: bool):
    rows = [{"prompt": asked(e.problem.text), "answer": e.answer} for e in ROWS[:4]]
    dataset = Dataset.from_list([*rows, {**rows[2], "answer": "999"}])

    def train(rows: Any) -> None:
        trainer = make_trainer(
            "recommended",
            options={"train_dataset": rows},
            max_steps=8,
            per_device_train_batch_size=8,
        )
        assert streamed, "the contradiction was not seen before the training"
        trainer.train()

    with pytest.raises(InvalidInputError, match=r"with another answer; keep the right one"):
        train(dataset.to_iterable_dataset() if streamed else dataset)


def test_one_id_for_two_problems_is_named(make_trainer: MakeTrainer):
    rows = [{"prompt": asked(e.problem.text), "problem_id": "same"} for e in ROWS[:2]]
    with pytest.raises(InvalidInputError, match=r"row 1: has the problem_id of row 0"):
        make_trainer("recommended", options={"train_dataset": Dataset.from_list(rows)})


def test_a_row_without_a_problem_is_named(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended")
    with pytest.raises(InvalidInputError, match="no user message in its prompt"):
        trainer._lanpo_guide([{"prompt": asked("  ")}])


def test_images_and_the_distilling_term_do_not_go_together(make_trainer: MakeTrainer):
    trainer = make_trainer("recommended")
    with pytest.raises(ConfigError, match="rows with images train with objective='in_context'"):
        trainer._lanpo_guide([{"prompt": asked("what is this?"), "image": object()}])


# ---------------------------------------------------------------------- what a policy says


class Silent(Spy):
    """Every third completion is empty."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any) -> Any:
        completions, logprobs = super()._generate_single_turn(prompt_ids, *args)
        end = self._tokenizer.eos_token_id
        return [[end] if i % 3 == 0 else ids for i, ids in enumerate(completions)], logprobs


@pytest.mark.parametrize("gate", ["always", "all_wrong"])
def test_empty_completions_train_on_and_are_never_shown(make_trainer: MakeTrainer, gate: str):
    trainer = make_trainer(
        "recommended",
        task=few(make_chains(0), 8),
        kind=Silent,
        mode="intra",
        gate=gate,
        max_completion_length=24,
        max_steps=5,
    )
    trainer.train()
    texts = [r.completion for rollouts in trainer.rollouts for r in rollouts]
    assert "" in texts
    attempts = pool_of(trainer).store.read("attempt")
    assert attempts
    assert all(a.text.strip() for a in attempts)
    shown = [g.attempt for p in trainer.plans for g in p.guidance_N if g]
    assert shown
    assert all(a.text.strip() for a in shown)
    assert all(math.isfinite(x) for x in trainer.logged("loss"))


@pytest.mark.parametrize("said", ["", "  \n\t ", "no lesson at all", "\x00\ud800"])
def test_a_summary_that_says_nothing_is_a_receipt_and_a_dead_letter(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, said: str
):
    from lanpo_rl.policy import PolicyModel

    def mumble(self: Any, conversations: Any, **_: Any) -> list[Completion]:
        return [Completion(text=said) for _ in conversations]

    monkeypatch.setattr(PolicyModel, "generate", mumble)
    trainer = make_trainer("recommended", kind=Spy, max_steps=4)
    trainer.train()
    failed = sum(trainer.logged("lanpo/receipts_failed"))
    assert failed > 0
    assert sum(trainer.logged("lanpo/receipts_added")) == 0
    letters = pool_of(trainer).store.read("failure")
    assert len(letters) == failed
    assert all(letter.conversation for letter in letters), "the question is kept"
    assert len(pool_of(trainer)) == 0


# ---------------------------------------------------------------------- rewards


def test_a_reward_that_raises_is_named_and_what_was_stored_stays(make_trainer: MakeTrainer):
    task = make_hidden_constants(0)
    calls = []

    def fragile(completions: Any, answer: Any, **_: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 4:
            raise ZeroDivisionError("no judge today")
        texts = [c[0]["content"] for c in completions]
        return [task.reward(t, a) for t, a in zip(texts, answer, strict=True)]

    trainer = make_trainer("recommended", kind=Spy, options={"reward_funcs": fragile}, max_steps=8)
    with pytest.raises(RewardError, match=r"'fragile' raised ZeroDivisionError: no judge today"):
        trainer.train()
    steps = {e.metadata.step for e in pool_of(trainer).store.read("experience")}
    assert steps
    assert max(steps) <= 2, "rollouts without a reward were stored"
    whole = make_trainer("recommended", kind=Spy, max_steps=3)
    whole.train()
    assert pool_of(trainer).digest() == pool_of(whole).digest()


@pytest.mark.parametrize("bad", [float("inf"), "1.0", [1.0]])
def test_rewards_that_are_no_numbers_are_named(make_trainer: MakeTrainer, bad: Any):
    def odd(completions: Any, **_: Any) -> list[Any]:
        return [bad for _ in completions]

    trainer = make_trainer("recommended", options={"reward_funcs": odd})
    with pytest.raises(RewardError, match=r"'odd' returned .* in row 0"):
        trainer.train()


def test_nan_rewards_are_no_evidence_anywhere(make_trainer: MakeTrainer):
    def never(completions: Any, **_: Any) -> list[float]:
        return [math.nan for _ in completions]

    for gate in ("always", "when_failing"):
        trainer = make_trainer(
            "recommended", kind=Spy, options={"reward_funcs": never}, gate=gate, max_steps=3
        )
        trainer.train()
        assert {r.reward for rs in trainer.rollouts for r in rs} == {None}
        assert len(pool_of(trainer)) == 0
        assert all(x == 0 for b in trainer.batches for x in b["advantages"].tolist())


# ---------------------------------------------------------------------- length limits


def test_guidance_that_does_not_fit_the_prompt_is_left_out_whole_and_counted(
    make_trainer: MakeTrainer,
):
    roomy = make_trainer("recommended", kind=Spy, max_steps=5, max_prompt_tokens=200)
    roomy.train()
    bare = max(len(x) for b in roomy.batches for x in [b["prompt_mask"][0]])
    assert any(plan.guided_PG.any() for plan in roomy.plans)
    tight = make_trainer("recommended", kind=Spy, max_steps=5, max_prompt_tokens=8)
    tight.train()
    assert not any(plan.guided_PG.any() for plan in tight.plans)
    assert sum(tight.logged("lanpo/truncated_prompts")) > 0
    assert sum(tight.logged("lanpo/dropped_for_budget")) > 0
    assert last_log(roomy, "lanpo/truncated_prompts") == 0
    assert bare > 8


def test_the_prompts_budget_counts_the_row_s_own_prompt(make_trainer: MakeTrainer):
    """A long prompt of one's own leaves less room than the one our prompts would have made."""
    rows = [
        {"prompt": asked("_" * 40 + e.problem.text), "problem": e.problem.text, "answer": e.answer}
        for e in make_hidden_constants(0).train
    ]
    trainer = make_trainer(
        "recommended",
        kind=Spy,
        max_steps=4,
        max_prompt_tokens=40,
        options={"train_dataset": Dataset.from_list(rows)},
    )
    trainer.train()
    assert not any(plan.guided_PG.any() for plan in trainer.plans)


@pytest.mark.parametrize("part", ["memory", "prompts", "alarms"])
def test_a_name_in_place_of_a_part_is_named(make_trainer: MakeTrainer, part: str):
    with pytest.raises(ConfigError, match=rf"{part} has no method .* give an object"):
        make_trainer("recommended", options={part: "tiny"})
