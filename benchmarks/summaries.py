"""Summarise real rollouts: which receipts they give, characters in and out, seconds.

    python -m benchmarks.summaries example_model_solutions.jsonl

The file is GSM8K's published model solutions (github.com/openai/grade-school-math): four rollouts
a problem, right and wrong. No model is needed: its place is taken by a script that answers as real
models do, well most of the time and badly in the ways they do (`MIX`).
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lanpo_memory import (
    EnglishPrompts,
    ExperiencePool,
    PoolAdapter,
    Rollout,
    admit_contrast,
    admit_correct,
)
from lanpo_memory.admission import Admission
from lanpo_memory.answering import answer
from lanpo_memory.importers import read_rollouts
from lanpo_memory.protocols import Summarizer
from lanpo_memory.summarizers import ContrastiveSummarizer, ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Experience, Messages

LESSON = {
    "flow_of_thought": [
        "1. I look for what is counted in each unit, because totals mix units.",
        "2. I write each intermediate quantity with its unit before I combine two of them.",
    ],
    "principles": ["Write down what each number counts before combining it with another."],
    "pitfalls": ["Stopping at an intermediate total when the question asks for what is left."],
}


def _good(_: str, lesson: str) -> str:
    return f"The attempt goes step by step.\n### Experience\n{lesson}"


MIX: dict[str, tuple[int, Callable[[str, str], str]]] = {
    "JSON as asked": (60, _good),
    "JSON in a fence, trailing comma": (
        10,
        lambda _, lesson: f"### Experience\n```json\n{lesson[:-1]},}}\n```",
    ),
    "a Markdown list": (
        5,
        lambda _, __: "**Principles:**\n- Name each quantity.\n\n**Pitfalls:**\n- Mixed units.",
    ),
    "thinking first": (5, lambda _, lesson: f"<think>Let me {{see}}.</think>\n{lesson}"),
    "cut in the middle": (5, lambda _, lesson: f"### Experience\n{lesson[: len(lesson) // 2]}"),
    "the attempt copied": (
        5,
        lambda attempt, _: json.dumps({"principles": [attempt], "pitfalls": []}),
    ),
    "prose": (5, lambda _, __: "The attempt seems fine to me and I have nothing to add."),
    "a refusal": (5, lambda _, __: "I'm sorry, but I can't help with that."),
}
"""What the script answers, and how often in a hundred."""


def scripted(messages: Messages) -> str:
    """Answer a request for a summary; the same request gets the same answer."""
    asked = str(messages[-1]["content"])
    attempt = asked.partition("<attempt")[2].partition(">")[2].partition("</attempt>")[0].strip()
    draw = int.from_bytes(hashlib.blake2b(asked.encode(), digest_size=4).digest(), "big") % 100
    # Each lesson names something of its own, as those of a model do.
    lesson = {**LESSON, "principles": [*LESSON["principles"], f"Case {draw}: check the units."]}
    for share, say in MIX.values():
        draw -= share
        if draw < 0:
            return say(attempt, json.dumps(lesson))
    raise AssertionError("the shares of MIX add up to 100")


@dataclass(frozen=True)
class Arm:
    """One way to summarise, and which rollouts of a group it gets."""

    name: str
    summarizer: Callable[[], Summarizer]
    admission: Admission


ARMS = (
    Arm("extractive, one right", ExtractiveSummarizer, admit_correct()),
    Arm("extractive, right and wrong", ExtractiveSummarizer, admit_contrast()),
    Arm("model, one right", lambda: LLMSummarizer(prompts=EnglishPrompts()), admit_correct()),
    Arm(
        "contrastive, right and wrong",
        lambda: ContrastiveSummarizer(prompts=EnglishPrompts()),
        admit_contrast(),
    ),
)


@dataclass
class Figures:
    """What one arm did. Characters and seconds are sums."""

    rollouts: int = 0
    requests: int = 0
    prompt_chars: int = 0
    answer_chars: int = 0
    stored_chars: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    receipts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def groups_of(path: Path) -> list[list[Rollout]]:
    """The rollouts of each problem that can be read."""
    lines = (line.rollouts for line in read_rollouts(path, "gsm8k-rollouts"))
    return [list(rollouts) for rollouts in lines if rollouts]


def outcomes(groups: Sequence[Sequence[Rollout]]) -> dict[str, int]:
    """How many groups are all right, all wrong, mixed."""
    names = {(True,): "all right", (False,): "all wrong", (False, True): "mixed"}
    found = Counter(names[tuple(sorted({bool(r.succeeded) for r in g}))] for g in groups)
    return {name: found[name] for name in names.values()}


def run(arm: Arm, groups: Sequence[Sequence[Rollout]], *, batch: int = 64) -> Figures:
    """Observe all groups in batches and count what came of them."""
    figures, pool = Figures(), ExperiencePool(clock=lambda: 0.0)
    memory = PoolAdapter(pool, summarizer=arm.summarizer(), admission=arm.admission)
    model = ScriptedChatModel(scripted)
    for step, rollouts in enumerate(_batches(groups, batch)):
        started = time.perf_counter()
        requests = memory.ask(rollouts, step=step)
        answers = answer(model, requests).answers
        seen = memory.ingest(rollouts, answers, step=step)
        figures.seconds += time.perf_counter() - started
        figures.rollouts += len(rollouts)
        figures.requests += len(requests)
        figures.prompt_chars += sum(len(str(r.conversation[-1]["content"])) for r in requests)
        figures.answer_chars += sum(len(a.text) for a in answers)
        figures.receipts.update(r.status for r in seen.receipts)
        figures.reasons.update(r.reason.rpartition(": ")[2] for r in seen.receipts if r.reason)
    figures.stored_chars = sum(map(_chars, pool.store.read("experience")))
    figures.dead_letters = pool.store.count("failure")
    return figures


def _batches(groups: Sequence[Sequence[Rollout]], size: int) -> Iterator[list[Rollout]]:
    left = iter(groups)
    while some := list(itertools.islice(left, size)):
        yield [rollout for group in some for rollout in group]


def _chars(experience: Experience) -> int:
    return sum(map(len, (experience.thoughts, *experience.principles, *experience.pitfalls)))


def table(results: dict[str, Figures]) -> str:
    """The figures of all arms as Markdown."""
    statuses = ("added", "duplicate", "rejected", "failed", "evicted")
    head = ["", "requests", *statuses, "prompts", "answers", "stored", "seconds"]
    rows = [
        [
            name,
            f"{f.requests:,}",
            *(f"{f.receipts[status]:,}" for status in statuses),
            f"{f.prompt_chars / 1e3:,.0f} k",
            f"{f.answer_chars / 1e3:,.0f} k",
            f"{f.stored_chars / 1e3:,.0f} k",
            f"{f.seconds:.2f}",
        ]
        for name, f in results.items()
    ]
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summaries", description=__doc__)
    parser.add_argument("file", type=Path, help="example_model_solutions.jsonl")
    parser.add_argument("--limit", type=int, help="problems, from the start")
    given = parser.parse_args(arguments)
    groups = groups_of(given.file)[: given.limit]
    chars = sum(len(r.completion) for group in groups for r in group)
    found = ", ".join(f"{n:,} {name}" for name, n in outcomes(groups).items())
    n = sum(map(len, groups))
    print(
        f"{n:,} rollouts of {len(groups):,} problems ({found}), {chars / 1e3:,.0f} k characters\n"
    )
    results = {arm.name: run(arm, groups) for arm in ARMS}
    print(table(results))
    print("\nprompts, answers, stored: characters. Why not added:")
    for name, figures in results.items():
        for reason, count in figures.reasons.most_common():
            print(f"  {name}: {count:,} x {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
