"""Ways to search a pool's problems."""

from lanpo_memory.retrievers.bm25 import BM25Retriever
from lanpo_memory.retrievers.cosine import CosineRetriever
from lanpo_memory.retrievers.dense import DenseRetriever
from lanpo_memory.retrievers.hybrid import HybridRetriever
from lanpo_memory.retrievers.rank_bm25 import RankBM25Retriever

__all__ = [
    "BM25Retriever",
    "CosineRetriever",
    "DenseRetriever",
    "HybridRetriever",
    "RankBM25Retriever",
]
