"""Solve with memory: a tiny policy on this CPU, alone and behind a pool it filled itself.

A problem such as `bako bako bako 8_6` asks for 8 + 6 + the secret number of *bako*. The policy does
not know the secrets. A lucky guess reveals one, and the pool keeps it: `bako C09`.
"""

from lanpo_memory import Guide, PoolAdapter, open_pool
from lanpo_memory.models import TransformersModel
from lanpo_memory.solving import Solver
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.turns import rollout_of
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

model = TransformersModel(load_policy(), load_tokenizer(), name="tiny")
task, prompts, pool = make_hidden_constants(seed=0), TinyPrompts(), open_pool("memory:")
guide = Guide(pool, prompts=prompts, gamma=LEXICAL_GAMMA)

# 1. Guess on 600 problems, and observe what came of it: right guesses become experiences.
tried = task.train[:600]
guesses = Solver(model, prompts=prompts, max_tokens=16, temperature=1.0).solve(
    [example.problem for example in tried], mode="zero_shot"
)
summarizer = LLMSummarizer(prompts=prompts, max_tokens=8)
memory = PoolAdapter(pool, guide=guide, summarizer=summarizer, model=model)
seen = memory.observe(
    [
        rollout_of(guess, correct=guess.answer == example.answer)
        for guess, example in zip(guesses, tried, strict=True)
    ],
    step=0,
)
print(f"{len(tried)} guesses, {seen.counts['added']} lessons in the pool")

# 2. Solve 320 other problems, bare and with the pool. It is only read.
solver = Solver(model, guide=guide, max_tokens=16)
for mode in ("zero_shot", "retrieval"):
    solutions = solver.solve([example.problem for example in task.held_out], mode=mode)
    right = sum(s.answer == e.answer for s, e in zip(solutions, task.held_out, strict=True))
    guided = sum(bool(s.turns[0].guidance) for s in solutions)
    print(f"{mode:<10} {right / len(solutions):.2f} right, {guided} of {len(solutions)} guided")

# 3. Every step of a solution can be looked at.
print(solutions[0].turns[0].conversation[-1]["content"], "->", solutions[0].text)
