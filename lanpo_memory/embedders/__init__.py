"""Text to vectors. `lanpo_memory.testing.HashingEmbedder` needs no model."""

from lanpo_memory.embedders.cached import CachedEmbedder
from lanpo_memory.embedders.sentence_transformers import SentenceTransformerEmbedder

__all__ = ["CachedEmbedder", "SentenceTransformerEmbedder"]
