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
    Solution,
    Solver,
    open_pool,
    rollout_of,
    session,
)
from lanpo_memory.abstraction import RelevantAbstraction
from lanpo_memory.calibration import Calibration, fit_gamma
from lanpo_memory.filters import NotFromProblems, NotSameProblem, OutcomeIs, SimilarityAtLeast
from lanpo_memory.models import LiteLLMModel, TransformersModel
from lanpo_memory.prompts import AgentPrompts, EnglishPrompts
from lanpo_memory.protocols import (
    Abstractor,
    ChatModel,
    ChoiceScorer,
    Embedder,
    ExperienceAdapter,
    ExperienceFilter,
    ExperienceStore,
    Prompts,
    Reflector,
    Relevance,
    Retriever,
    SolvePrompts,
    Summarizer,
)
from lanpo_memory.reflectors import InRolloutReflector, TwoStageReflector
from lanpo_memory.relevance import CosineRelevance, JudgeRelevance, LexicalRelevance
from lanpo_memory.retrievers import BM25Retriever
from lanpo_memory.selection import Candidate
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.summarizers import ContrastiveSummarizer, ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel, ScriptedChoiceScorer
from lanpo_memory.types import Messages, Turn, Usage

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
summarizers: list[Summarizer] = [
    ExtractiveSummarizer(),
    LLMSummarizer(prompts=prompts),
    ContrastiveSummarizer(prompts=EnglishPrompts()),
]
reflector: Reflector = InRolloutReflector(prompts)
embedder: Embedder = HashingEmbedder()
model: ChatModel = ScriptedChatModel(["answer"])
judge: ChoiceScorer = ScriptedChoiceScorer(0.9)
relevances: list[Relevance] = [
    CosineRelevance(embedder),
    LexicalRelevance(),
    JudgeRelevance(judge),
]
second: Reflector = TwoStageReflector(model, prompts=EnglishPrompts())
abstractor: Abstractor = RelevantAbstraction(model, prompts=EnglishPrompts())
solving: SolvePrompts = EnglishPrompts()
agents: SolvePrompts = AgentPrompts()


def chat(local: TransformersModel, remote: LiteLLMModel) -> list[ChatModel]:
    return [local, remote]


def scorers(local: TransformersModel, remote: LiteLLMModel) -> list[ChoiceScorer]:
    return [local, remote]


solver = Solver(model, pool)
assert_type(solver.solve([problem], mode="retrieval"), list[Solution])
turns = (Turn(conversation=messages, text="5"),)
solution = Solution(problem=problem, mode="zero_shot", turns=turns)
assert_type(solution.answer, str | None)
assert_type(rollout_of(solution, reward=1.0), Rollout)
with session(memory, problem) as turn:
    assert_type(turn.guidance, Guidance)
    assert_type(turn.system("Be brief."), str)
assert_type(model.ledger.by_role(), dict[str, Usage])
adapter: ExperienceAdapter = memory
