"""Ways to say how relevant an experience is to a problem, in 0..1."""

from lanpo_memory.relevance.cosine import CosineRelevance
from lanpo_memory.relevance.judge import JudgeRelevance, JudgeWarning
from lanpo_memory.relevance.lexical import LexicalRelevance

__all__ = ["CosineRelevance", "JudgeRelevance", "JudgeWarning", "LexicalRelevance"]
