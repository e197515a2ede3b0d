"""Self-correction without an oracle: a tiny policy looks at each of its answers again.

A chain such as `4+3*7` is solved step by step modulo 10: `+3:7*7:9`. The policy believes some steps
wrongly when it solves, and fewer of them when it checks. Nobody tells it which answers are right.
"""

from lanpo_memory.models import TransformersModel
from lanpo_memory.solving import Solver
from lanpo_rl.tasks import make_chains
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

model = TransformersModel(load_policy(), load_tokenizer(), name="tiny")
task = make_chains(seed=0)
solver = Solver(model, prompts=TinyPrompts(), max_tokens=32, rounds=2)
solutions = solver.solve([example.problem for example in task.held_out], mode="self_correct")

# What the answers were worth after each turn: a check that agrees ends it, so some have fewer.
for turns in (1, 2, 3):
    told = [solution.turns[:turns] for solution in solutions]
    right = sum(t[-1].answer == e.answer for t, e in zip(told, task.held_out, strict=True))
    tokens = sum(turn.usage.tokens for each in told for turn in each)
    print(f"{turns - 1} reflections at most: {right / len(told):.2f} right, {tokens:,} tokens")

# One that was mended: the answer, what the checks made of it, and what they concluded.
mended = next(s for s in solutions if s.answer != s.turns[0].answer)
print(f"{mended.problem.text}: {mended.turns[0].text}")
for turn in mended.turns[1:]:
    print(f"    {turn.text}  verdict: {'right' if turn.verdict else 'wrong'}")
