"""Ways to search a pool's problems."""

from lanpo_memory.retrievers.bm25 import BM25Retriever

__all__ = ["BM25Retriever"]
