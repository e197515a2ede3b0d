"""Every other part of this library against the conformance kit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from lanpo_memory.embedders import CachedEmbedder
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import Embedder, Reflector, Relevance, Retriever, Summarizer
from lanpo_memory.reflectors import InRolloutReflector, TwoStageReflector
from lanpo_memory.relevance import CosineRelevance, JudgeRelevance, LexicalRelevance
from lanpo_memory.retrievers import (
    BM25Retriever,
    CosineRetriever,
    DenseRetriever,
    HybridRetriever,
    RankBM25Retriever,
)
from lanpo_memory.retrievers.chroma import ChromaRetriever
from lanpo_memory.stores import MemoryStore
from lanpo_memory.summarizers import ContrastiveSummarizer, ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel, ScriptedChoiceScorer
from lanpo_memory.testing.conformance import (
    EmbedderConformance,
    ReflectorConformance,
    RelevanceConformance,
    RetrieverConformance,
    SummarizerConformance,
)
from tests.memory.chroma_server import chroma_installed

__all__ = ["chroma_installed"]  # a fixture


class TestBM25Retriever(RetrieverConformance):
    def retriever(self) -> Retriever:
        return BM25Retriever()


class TestRankBM25Retriever(RetrieverConformance):
    def retriever(self) -> Retriever:
        return RankBM25Retriever()


class TestDenseRetriever(RetrieverConformance):
    def retriever(self) -> Retriever:
        return DenseRetriever(HashingEmbedder())


class TestCosineRetriever(RetrieverConformance):
    def retriever(self) -> Retriever:
        return CosineRetriever(BM25Retriever(), HashingEmbedder())


class TestCosineOverRankBM25(RetrieverConformance):
    def retriever(self) -> Retriever:
        return CosineRetriever(RankBM25Retriever(), HashingEmbedder())


class TestHybridRetriever(RetrieverConformance):
    SIMILARITY_FOLLOWS_SCORE: ClassVar[bool] = False

    def retriever(self) -> Retriever:
        return HybridRetriever(BM25Retriever(), DenseRetriever(HashingEmbedder()))


@pytest.mark.usefixtures("chroma_installed")
class TestChromaRetriever(RetrieverConformance):
    EXACT: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def folders(self, tmp_path: Path) -> Iterator[None]:
        self.folder, self.opened = tmp_path, ExitStack()
        self.count = 0
        with self.opened:
            yield

    def retriever(self) -> Retriever:
        self.count += 1
        folder = self.folder / f"{self.count}"
        return self.opened.enter_context(ChromaRetriever(HashingEmbedder(), folder=folder))


class TestLLMSummarizer(SummarizerConformance):
    def summarizer(self) -> Summarizer:
        return LLMSummarizer(prompts=EnglishPrompts())


class TestExtractiveSummarizer(SummarizerConformance):
    def summarizer(self) -> Summarizer:
        return ExtractiveSummarizer()


class TestContrastiveSummarizer(SummarizerConformance):
    OUTCOME_BLIND: ClassVar[bool] = False

    def summarizer(self) -> Summarizer:
        return ContrastiveSummarizer(prompts=EnglishPrompts())


class TestLexicalRelevance(RelevanceConformance):
    def relevance(self) -> Relevance:
        return LexicalRelevance()


class TestCosineRelevance(RelevanceConformance):
    def relevance(self) -> Relevance:
        return CosineRelevance(HashingEmbedder())


class TestJudgeRelevance(RelevanceConformance):
    def relevance(self) -> Relevance:
        scorer = ScriptedChoiceScorer(lambda asked: len(json.dumps(asked)) % 101 / 100)
        return JudgeRelevance(scorer, prompts=EnglishPrompts())


class TestInRolloutReflector(ReflectorConformance):
    def reflector(self) -> Reflector:
        return InRolloutReflector(EnglishPrompts())


class TestTwoStageReflector(ReflectorConformance):
    def reflector(self) -> Reflector:
        return TwoStageReflector(ScriptedChatModel("Look again."), prompts=EnglishPrompts())


class TestHashingEmbedder(EmbedderConformance):
    def embedder(self) -> Embedder:
        return HashingEmbedder()


class TestCachedEmbedder(EmbedderConformance):
    def embedder(self) -> Embedder:
        return CachedEmbedder(HashingEmbedder(), MemoryStore())
