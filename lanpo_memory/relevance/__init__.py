"""Ways to say how relevant an experience is to a problem, in 0..1."""

from lanpo_memory.relevance.cosine import CosineRelevance

__all__ = ["CosineRelevance"]
