"""Your own reward and your own summarizer: in training, and then without a trainer.

The reward is asynchronous and gives partial credit. The summarizer is an object with two methods:
`ask` says what a model is to be asked about rollouts, `read` makes lessons of the answers.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback

from lanpo_memory import ExperiencePool, Guide, PoolAdapter, open_pool
from lanpo_memory.models import TransformersModel
from lanpo_memory.solving import Solver
from lanpo_memory.summarizers import provenance
from lanpo_memory.turns import rollout_of
from lanpo_memory.types import Completion, Experience, Failure, Request, Rollout
from lanpo_rl import LanpoConfig, LanpoTrainer
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.tiny.alphabet import boxed_answer


async def closeness(text: str, answer: str) -> float:
    """1 for the right number, up to 0.4 for one close to it: below `correct_above`, no success."""
    await asyncio.sleep(0)  # here you would await your sandbox or your judge
    said = boxed_answer(text) or ""
    if not said.isdigit():
        return 0.0
    return 1.0 if said == answer else max(0.0, 0.5 - 0.1 * abs(int(said) - int(answer)))


class Consistent:
    """Asks for a lesson, and keeps it only if it names the constant that the rollout used."""

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        asked = enumerate(prompts.summarise(r.problem, r.completion) for r in rollouts)
        return [
            Request(role="summarise", conversation=words, rollouts=(i,), max_tokens=8)
            for i, words in asked
        ]

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        pairs = zip(rollouts, answers, strict=True)
        return [lesson(i, rollout, said) for i, (rollout, said) in enumerate(pairs)]


def lesson(i: int, rollout: Rollout, said: Completion | Failure) -> Experience | Failure:
    if isinstance(said, Failure):  # the model gave no answer
        return said.model_copy(update={"rollouts": (i,)})
    used = f"{rollout.problem.text.split()[0]} {rollout.completion[:3]}"
    if said.text.strip() != used:
        reason = f"the rollout used {used!r}"
        return Failure(reason=reason, text=said.text, rollouts=(i,), status="rejected")
    return Experience(problem=rollout.problem, principles=(used,), metadata=provenance(rollout))


task, prompts, summarizer = make_hidden_constants(seed=0), TinyPrompts(), Consistent()


def memory_around(pool: ExperiencePool, **settings: Any) -> PoolAdapter:
    guide = Guide(pool, prompts=prompts, gamma=LEXICAL_GAMMA, weight="utility")
    return PoolAdapter(pool, guide=guide, summarizer=summarizer, **settings)


# 1. In training: the trainer lets the policy answer what the summarizer asks.
config = LanpoConfig.preset(
    "recommended",
    output_dir="own-parts",
    max_steps=30,
    per_device_train_batch_size=64,
    num_generations=8,
    max_completion_length=16,
    learning_rate=2e-4,
    logging_steps=30,
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
    use_cpu=True,
    bf16=False,
    activation_checkpointing=False,
    dataloader_pin_memory=False,
    seed=0,
)
memory = memory_around(open_pool("memory:"), feedback_ratio=0.75, seed=0, randomised=True)
trainer = LanpoTrainer(
    load_policy(),
    as_reward(closeness, name="closeness"),
    config,
    train_dataset=task.dataset("train"),
    processing_class=load_tokenizer(),
    memory=memory,
    prompts=prompts,
)
trainer.remove_callback(PrinterCallback)
trainer.train()
print(f"trained: {trainer.state.log_history[0]['lanpo/reward_guided']:.2f} reward with guidance")

# 2. Without a trainer, around a policy of any kind: the same object, another pool.
model = TransformersModel(trainer.model, trainer.processing_class, name="trained")
pool = open_pool("memory:")
memory = memory_around(pool, model=model)
tried = task.train[:800]
guesses = Solver(model, prompts=prompts, max_tokens=16, temperature=1.0).solve(
    [example.problem for example in tried], mode="zero_shot"
)
judged = [rollout_of(g, correct=g.answer == e.answer) for g, e in zip(guesses, tried, strict=True)]
seen = memory.observe(judged, step=0)
print(f"{sum(r.correct for r in judged)} right guesses: {dict(seen.counts)}")
for mode in ("zero_shot", "retrieval"):
    solutions = Solver(model, guide=memory.guide, max_tokens=16).solve(
        [example.problem for example in task.held_out], mode=mode
    )
    right = sum(s.answer == e.answer for s, e in zip(solutions, task.held_out, strict=True))
    print(f"{mode}: {right / len(solutions):.2f} right")
