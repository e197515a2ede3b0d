"""How the public names are typed; checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from lanpo_memory import (
    Completion,
    Experience,
    ExperiencePool,
    Guidance,
    Observation,
    PoolAdapter,
    Problem,
    Receipt,
    Retrieved,
    Rollout,
    open_pool,
)
from lanpo_memory.calibration import Calibration, fit_gamma
from lanpo_memory.filters import NotFromProblems, NotSameProblem, OutcomeIs, SimilarityAtLeast
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import (
    ChatModel,
    Embedder,
    ExperienceAdapter,
    ExperienceFilter,
    ExperienceStore,
    Prompts,
    Reflector,
    Relevance,
    Retriever,
    Summarizer,
)
from lanpo_memory.reflectors import InRolloutReflector
from lanpo_memory.relevance import CosineRelevance
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.selection import Candidate
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.summarizers import ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel
from lanpo_memory.types import Messages

problem = Problem(text="2 + 3?")
with open_pool("memory:") as pool:
    assert_type(pool, ExperiencePool)
    assert_type(pool.add([]), list[Receipt])
    assert_type(pool.retrieve([problem], k=8), list[list[Retrieved]])
    assert_type(pool.get(["id"]), list[Experience | None])
    assert_type(pool.store.read("experience"), list[Experience])
    assert_type(pool.store.read("problem"), list[Problem])
pool = open_pool("memory:")
assert_type(pool.explain(problem), list[Candidate])
assert_type(fit_gamma([0.5], target=0.5, fingerprint="f"), Calibration)

memory = PoolAdapter(pool, mode="both", feedback_ratio=0.75)
assert_type(memory.prepare([problem], step=3), list[Guidance])
assert_type(memory.observe([Rollout(problem=problem, completion="5")], step=3), Observation)
assert_type(memory.ingest([], [Completion(text="t")], step=3), Observation)

guidance = Guidance()
messages: Messages = [{"role": "user", "content": "q"}]
assert_type(guidance.apply("q"), str)
assert_type(guidance.apply(messages), Messages)

# Every part we ship fits its seam.
stores: list[ExperienceStore] = [MemoryStore(), SQLiteStore("pool.db")]
retriever: Retriever = BM25Retriever()
filters: list[ExperienceFilter] = [
    SimilarityAtLeast(0.5),
    NotSameProblem(),
    OutcomeIs(),
    NotFromProblems([]),
]
prompts: Prompts = EnglishPrompts()
summarizers: list[Summarizer] = [ExtractiveSummarizer(), LLMSummarizer(prompts=prompts)]
reflector: Reflector = InRolloutReflector(prompts)
embedder: Embedder = HashingEmbedder()
relevance: Relevance = CosineRelevance(embedder)
model: ChatModel = ScriptedChatModel(["answer"])
adapter: ExperienceAdapter = memory
