"""An agent that learns while it works: the tiny policy, one problem after the other.

A problem such as `bako bako bako 8_6` asks for 8 + 6 + the secret number of *bako*. At first the
policy can only guess. What it gets right is summarised, by the policy itself, and guides it when a
problem of the same kind comes again. No weight changes.
"""

from lanpo_memory import Guide, PoolAdapter, open_pool, session
from lanpo_memory.models import TransformersModel
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

policy = TransformersModel(load_policy(), load_tokenizer(), name="tiny", seed=0)
task, prompts, pool = make_hidden_constants(seed=0), TinyPrompts(), open_pool("memory:")
guide = Guide(pool, prompts=prompts, gamma=LEXICAL_GAMMA, weight="utility")
summarizer = LLMSummarizer(prompts=prompts, max_tokens=8)
memory = PoolAdapter(pool, guide=guide, summarizer=summarizer, model=policy)

right, guided = [], []
for day, example in enumerate(task.train[:400]):
    with session(memory, example.problem, step=day) as turn:
        prompt = turn.guidance.apply(prompts.solve(example.problem))
        said = policy.generate([prompt], max_tokens=16, temperature=1.0)[0].text
        turn.finish(said, correct=prompts.answer(said) == example.answer)
    right.append(prompts.answer(said) == example.answer)
    guided.append(bool(turn.guidance))

for start in range(0, 400, 100):
    part = slice(start, start + 100)
    share, hints = sum(right[part]) / 100, sum(guided[part]) / 100
    print(f"problems {start + 1:>3} to {start + 100}: {share:.2f} right, {hints:.2f} with a hint")
cost = {role: usage.tokens for role, usage in policy.ledger.by_role().items()}
print(f"{len(pool)} lessons; tokens: {cost}")
