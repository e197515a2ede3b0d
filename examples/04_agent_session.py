"""An agent with a memory: four lines around the loop you have.

The lines are numbered. The client looks like `openai.OpenAI()`, but a script answers: this shows
the mechanism, asks nothing over a network, and proves nothing about models. How the same four lines
stand around the real client, smolagents and LangGraph: docs/solving.md.
"""

import re
from types import SimpleNamespace
from typing import Any

from lanpo_memory import Guide, PoolAdapter, Problem, open_pool
from lanpo_memory.prompts import AgentPrompts
from lanpo_memory.sessions import session
from lanpo_memory.summarizers import ExtractiveSummarizer
from lanpo_memory.testing import ScriptedChatModel


def script(messages: list[dict[str, Any]]) -> str:
    """First use the calculator, then say how it went."""
    last = messages[-1]
    if last["role"] == "tool":
        return f"First I find the distance of one hour. Then I scale it: {last['content']} km."
    distance, hours, wanted = re.findall(r"\d+", last["content"])
    return f"CALCULATE {distance} / {hours} * {wanted}"


def create(messages: list[dict[str, Any]], **_: Any) -> SimpleNamespace:
    text = scripted.generate([messages], max_tokens=200)[0].text
    return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=text))])


def run_agent(system: str, task: str) -> list[dict[str, Any]]:
    """The loop you have: ask, run a tool, ask again."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": task}]
    while True:
        answer = client.chat.completions.create(model="any", messages=messages)
        said = answer.choices[0].message.content
        messages.append({"role": "assistant", "content": said})
        if not said.startswith("CALCULATE "):
            return messages
        a, _, b, _, c = said.removeprefix("CALCULATE ").split()
        messages.append({"role": "tool", "content": f"{int(a) / int(b) * int(c):g}"})


scripted = ScriptedChatModel(script)
client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
tasks = {
    "A train covers 120 km in 2 hours. How far does it get in 5 hours?": "300 km",
    "A train covers 90 km in 3 hours. How far does it get in 7 hours?": "210 km",
}

pool = open_pool("memory:")
guide = Guide(pool, gamma=0.1, prompts=AgentPrompts())
memory = PoolAdapter(pool, guide=guide, summarizer=ExtractiveSummarizer())  # 1
for day, (task, expected) in enumerate(tasks.items()):
    with session(memory, Problem(text=task), step=day) as turn:  # 2
        messages = run_agent(turn.system("You have a calculator."), task)  # 3
        report = messages[-1]["content"]
        turn.finish(report, correct=expected in report)  # 4
    print(f"day {day}: {len(turn.guidance.experience_ids)} notes in the prompt. {report}")
    print(f"       {dict(turn.observation.counts)}, {turn.observation.pool_size} in the pool")

print(f"\nThe system prompt of day {day}:\n{messages[0]['content']}")
