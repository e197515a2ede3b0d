"""Rollouts to experiences: by a model, or by copying sentences."""

from lanpo_memory.summarizers._provenance import provenance
from lanpo_memory.summarizers.extractive import ExtractiveSummarizer
from lanpo_memory.summarizers.llm import LLMSummarizer

__all__ = ["ExtractiveSummarizer", "LLMSummarizer", "provenance"]
