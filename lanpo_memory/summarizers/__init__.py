"""Rollouts to experiences: by a model, one by one or by group, or by copying sentences."""

from lanpo_memory.summarizers._provenance import provenance
from lanpo_memory.summarizers.contrastive import ContrastiveSummarizer
from lanpo_memory.summarizers.copy_check import CopyCheck, SummaryCheck
from lanpo_memory.summarizers.extractive import ExtractiveSummarizer
from lanpo_memory.summarizers.llm import LLMSummarizer

__all__ = [
    "ContrastiveSummarizer",
    "CopyCheck",
    "ExtractiveSummarizer",
    "LLMSummarizer",
    "SummaryCheck",
    "provenance",
]
