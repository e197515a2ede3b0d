"""10,000 mutated answers: none raises, and none is lost without a receipt.

``python -m tests.memory.test_parsing_fuzz`` prints what becomes of them, and how long it takes.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.guide import Guide
from lanpo_memory.parsing import parse_summary
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.types import (
    Completion,
    Experience,
    FailedAnswer,
    Failure,
    Problem,
    Receipt,
    Rollout,
)

SEED = 20251016
N = 10_000
BATCH = 25  # a step of training, more or less
THOUGHTS = [
    "1. I name the unknown, since the question asks for it and not for the total.",
    r"2. I rewrite \frac{a}{b} before I compare, because {a} may be 0.",
]
PRINCIPLES = [
    'Say what is asked, e.g. "how many are left", before you compute.',
    r"Factor first: \(x^2 - y^2 = (x-y)(x+y)\), don't expand.",
]
PITFALLS = ["Mixing units, such as hours and minutes.", "Stopping at a total."]
WHOLE = {"flow_of_thought": THOUGHTS, "principles": PRINCIPLES, "pitfalls": PITFALLS}
PLAIN = {
    "flow_of_thought": ["1. I look for symmetry", "2. I check small cases"],
    "principles": ["use symmetry", "check units"],
    "pitfalls": ["guessing"],
}
CURLY = re.sub(r'"([^"]*)"', "“\\1”", json.dumps(PLAIN))
ANALYSIS = "The attempt splits the set {x : x > 0} in two; the step from [1] to [2] carries it.\n\n"


def bullets(items: list[str], mark: str = "-") -> str:
    return "\n".join(f"{mark} {item}" for item in items)


def markdown(*titles: str, heading: str = "### {}", mark: str = "-") -> str:
    parts = [THOUGHTS, PRINCIPLES, PITFALLS]
    return "\n\n".join(
        f"{heading.format(title)}\n{bullets(part, mark)}"
        for title, part in zip(titles, parts, strict=True)
    )


def renamed(*names: str) -> str:
    values = dict(zip(names, WHOLE.values(), strict=True))
    return json.dumps(values, ensure_ascii=False, indent=2)


JSON = json.dumps(WHOLE, indent=2)
ANSWERS: dict[str, str] = {
    "as asked": f"{ANALYSIS}### Experience\n{JSON}",
    "one line": f"### Experience\n{json.dumps(WHOLE)}",
    "fence": f"{ANALYSIS}### Experience\n```json\n{JSON}\n```\n",
    "fence without a language": f"### Experience\n```\n{JSON}\n```\nI hope this helps!",
    "prose around": f"Sure! Here is what I found:\n\n{JSON}\n\nLet me know if you need more.",
    "no header": JSON,
    "windows line ends": f"{ANALYSIS}### Experience\n{JSON}".replace("\n", "\r\n"),
    "bold header": f"{ANALYSIS}**Experience:**\n{JSON}",
    "trailing commas": f"### Experience\n{JSON}".replace('"\n  ]', '",\n  ],').replace("],,", "],"),
    "python": f"### Experience\n{PLAIN}",
    "single quotes": "### Experience\n" + json.dumps(PLAIN, indent=1).replace('"', "'"),
    "slashes": JSON.replace('"principles"', '// what to do\n  "principles"'),
    "hashes": JSON.replace('"pitfalls"', '# what not to do\n  "pitfalls"'),
    "stars": JSON.replace('"pitfalls": [', '"pitfalls": [ /* general ones */'),
    "bare keys": f"### Experience\n{{flow_of_thought: {json.dumps(THOUGHTS)}, "
    f"principles: {json.dumps(PRINCIPLES)}, pitfalls: {json.dumps(PITFALLS)}}}",
    "bare backslashes": "### Experience\n" + JSON.replace("\\\\", "\\"),
    "bare quotes": "### Experience\n" + JSON.replace('\\"', '"'),
    "line breaks in strings": "### Experience\n" + JSON.replace(". ", ".\n"),
    "curly quotes": "### Experience\n" + CURLY,
    "thinking": f'<think>\nA draft: {{"principles": ["draft"]}}\n</think>\n\n{ANALYSIS}{JSON}',
    "thinking, opened by the prompt": f"I should look at it.\n</think>\n\n### Experience\n{JSON}",
    "reasoning": f"<reasoning>First, what is asked?</reasoning>\n{JSON}",
    "no last brace": f"### Experience\n{JSON}"[:-1],
    "cut in the pitfalls": f"### Experience\n{JSON}"[:-10],
    "cut in the principles": f"```json\n{JSON}"[:-150],
    "wrapped": json.dumps({"experience": WHOLE}),
    "takeaways with parts": json.dumps(
        {"Flow of thought": THOUGHTS, "Takeaways": {"Principles": PRINCIPLES, "Pitfalls": PITFALLS}}
    ),
    "one text each": json.dumps({name: "\n".join(part) for name, part in WHOLE.items()}),
    "numbered keys": json.dumps({"principles": {"1": PRINCIPLES[0], "2": PRINCIPLES[1]}}),
    "escaped whole": json.dumps(json.dumps(PLAIN)),
    "tool call": json.dumps({"name": "save_experience", "arguments": json.dumps(WHOLE)}),
    "strings alone": json.dumps(PRINCIPLES, indent=2),
    "notes": json.dumps(
        [{"title": "Units", "description": "When they differ", "content": p} for p in PRINCIPLES]
    ),
    "lessons": json.dumps({"key_lessons": PRINCIPLES, "mistakes_to_avoid": PITFALLS}),
    "insights": json.dumps({"insights": [{"insight": p, "why": "general"} for p in PRINCIPLES]}),
    "chinese": f"### 经验\n{renamed('思路', '原则', '易错点')}",
    "german": f"### Erfahrung\n{renamed('Gedankengang', 'Grundsätze', 'Häufige Fehler')}",
    "french": f"### Expérience\n{renamed('flux_de_pensée', 'principes', 'pièges')}",
    "spanish": f"### Experiencia\n{renamed('flujo_de_pensamiento', 'principios', 'errores')}",
    "portuguese": renamed("fluxo_de_pensamento", "princípios", "armadilhas"),
    "italian": renamed("flusso di pensiero", "principi", "insidie"),
    "russian": f"### Опыт\n{renamed('ход_мыслей', 'принципы', 'типичные ошибки')}",
    "japanese": f"### 経験\n{renamed('思考の流れ', '原則', '落とし穴')}",
    "headings": ANALYSIS + markdown("Flow of Thought", "Principles", "Pitfalls"),
    "under the header": "### Experience\n" + markdown("Thoughts", "Principles", "Pitfalls"),
    "bold labels": markdown(
        "Flow of thought", "Principles", "Pitfalls", heading="**{}:**", mark="*"
    ),
    "bold items": f"1. **Principles**\n   {bullets(PRINCIPLES[:1])}\n2. **Pitfalls**\n   - a guess",
    "plain labels": markdown("Flow of thought", "Key takeaways", "Pitfalls", heading="{}:"),
    "announced": f"Here are the key takeaways:\n\n{bullets(PRINCIPLES, '•')}\n\nI hope this helps.",
    "inline": "Flow of thought: I look, then count.\nPrinciples: count.\nPitfalls: guessing.",
    "yaml": "principles:\n  - count first\n  - check last\npitfalls:\n  - guessing\n",
    "elements": "<principles>\n- count first\n</principles>\n<pitfalls>guessing</pitfalls>",
    "chinese lists": markdown("思维流程", "关键要点", "常见错误", heading="**{}：**", mark="1、"),
    "german lists": markdown("Gedankengang", "Prinzipien", "Fallstricke"),
}  # fmt: skip


def test_every_answer_as_it_came_is_read():
    unread = {name: parse_summary(Problem(text="?"), text) for name, text in ANSWERS.items()}
    assert {n: r for n, r in unread.items() if not isinstance(r, Experience)} == {}


PIECES = [
    *"{}[]()\"'`\\,:;#*-<>/\n\t\r ", *"\"'\\", "```", "```json\n", "</think>", "<think>\n", "//",
    "/*", "*/", "### Experience\n", '{"', '"}', '",', "null", "None", "...", "\0", "\ud800",
    "\u202e", "\u200b", *"“”é，：𝑥", "9" * 30, "\\frac{", "\\u00", "\x1b[1m", "[" * 40, "{" * 40,
]  # fmt: skip


def _delete(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.choice((1, 1, 1, 2, 8, 60)) :]


def _insert(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(PIECES) + text[at:]


def _double(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    span = text[at : at + rng.choice((1, 1, 2, 10, 100))]
    return text[:at] + span * rng.choice((2, 2, 3, 30)) + text[at + len(span) :]


def _swap(rng: random.Random, text: str) -> str:
    a, b, c = sorted(rng.randrange(len(text) + 1) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def _turn(rng: random.Random, text: str) -> str:
    at = rng.randrange(max(1, len(text) - 1))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _truncate(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _requote(rng: random.Random, text: str) -> str:
    old, new = rng.choice(
        (('"', "'"), ("'", '"'), ('"', "“"), ('"', ""), ('"', '\\"'), ('"', '""'))
    )
    return text.replace(old, new, rng.choice((1, 2, 1000)))


def _backslashes(rng: random.Random, text: str) -> str:
    old, new = rng.choice((("\\", "\\\\"), ("\\\\", "\\"), (" ", " \\"), ("\\", "")))
    return text.replace(old, new, rng.choice((1, 3, 1000)))


def _lines(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines)), lines.pop(at))
    return rng.choice(("\n", "\n", "\r\n", " ")).join(lines)


def _nest(rng: random.Random, text: str) -> str:
    deep = rng.choice((1, 1, 3, 80))
    left, right = rng.choice((('{"a": ', "}"), ("[", "]"), ("> ", ""), ("<think>", "</think>")))
    return left * deep + text + right * deep


def _join(rng: random.Random, text: str) -> str:
    other = rng.choice(list(ANSWERS.values()))
    return rng.choice(
        (text + other, text + "\n" + _truncate(rng, other), _truncate(rng, other) + text)
    )


LIGHT: list[Callable[[random.Random, str], str]] = [_delete, _insert, _turn, _double]
MUTATIONS = [*LIGHT, _swap, _truncate, _requote, _backslashes, _lines, _nest, _join]


def mutated(rng: random.Random, text: str) -> tuple[str, bool]:
    """A mutated answer, and whether it is changed in one place only."""
    if rng.random() < 0.25:
        return rng.choice(LIGHT)(rng, text), True
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        text = rng.choice(MUTATIONS)(rng, text)
    return text, False


def answers(n: int, seed: int = SEED) -> list[tuple[str, bool]]:
    rng = random.Random(seed)
    return [mutated(rng, rng.choice(list(ANSWERS.values()))) for _ in range(n)]


def ingested(pool: ExperiencePool, said: list[str]) -> list[Receipt]:
    """Give each answer to the memory, as the summary of a rollout of its own."""
    memory = PoolAdapter(
        pool,
        guide=Guide(pool),
        summarizer=LLMSummarizer(prompts=EnglishPrompts()),
    )
    receipts: list[Receipt] = []
    for start in range(0, len(said), BATCH):
        batch = range(start, min(len(said), start + BATCH))
        rollouts = [
            Rollout(
                problem=Problem(text=f"Problem {i}", id=f"p{i}"), completion="...", correct=True
            )
            for i in batch
        ]
        completions = [Completion(text=said[i]) for i in batch]
        receipts += memory.ingest(rollouts, completions, step=start).receipts
    return receipts


def stored_text(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def test_none_of_10_000_mutated_answers_raises_or_is_lost():
    pool = ExperiencePool()
    said = [text for text, _ in answers(N)]
    receipts = ingested(pool, said)
    assert len(receipts) == N
    counts = Counter(receipt.status for receipt in receipts)
    assert counts.keys() <= {"added", "duplicate", "rejected", "failed"}
    assert counts["added"] == len(pool)
    failures: dict[str, FailedAnswer] = {f.id: f for f in pool.store.read("failure")}
    failed = [receipt for receipt in receipts if receipt.status == "failed"]
    assert {receipt.id for receipt in failed} == failures.keys()
    assert len(failed) == len(failures) > 0
    for failure in failures.values():
        assert failure.text == stored_text(said[int(failure.problem_id[1:])])
        assert failure.reason


def test_most_answers_survive_one_small_change():
    light = [text for text, is_light in answers(4_000) if is_light]
    read = [isinstance(parse_summary(Problem(text="?"), text), Experience) for text in light]
    assert sum(read) / len(read) > 0.95


def main() -> None:
    """Print what becomes of the answers, and the parser's time for each."""
    said = answers(N)
    started = time.perf_counter()
    counts = Counter(receipt.status for receipt in ingested(ExperiencePool(), [t for t, _ in said]))
    seconds = time.perf_counter() - started
    reasons: Counter[str] = Counter()
    read: Counter[bool] = Counter()
    times = []
    for text, is_light in said:
        begun = time.perf_counter()
        found = parse_summary(Problem(text="?"), text)
        times.append(1000 * (time.perf_counter() - begun))
        read[is_light] += isinstance(found, Experience)
        reasons[found.reason if isinstance(found, Failure) else "read"] += 1
    n_light = sum(is_light for _, is_light in said)
    print(f"{N:,} answers from {len(ANSWERS)} forms, {seconds:.1f} s through the adapter")
    print("receipts:", ", ".join(f"{status} {n:,}" for status, n in sorted(counts.items())))
    print(f"read after one small change: {read[True] / n_light:.1%} of {n_light:,}")
    print(f"read after heavier ones: {read[False] / (N - n_light):.1%} of {N - n_light:,}")
    print(f"parser, ms: mean {sum(times) / N:.2f}, slowest {max(times):.1f}")
    for reason, n in reasons.most_common():
        print(f"{n:>6,}  {reason}")


if __name__ == "__main__":
    main()
