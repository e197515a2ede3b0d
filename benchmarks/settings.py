"""How much is measured: the whole, or as much as fits into seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SUITES = ("pool", "bm25", "imports", "peers")


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes and repetitions. The defaults are those of `make bench`.

    Args:
        work: a folder for pools and corpora, on the disk whose durability is measured.
        pool_sizes: experiences, 32 a problem.
        bm25_sizes: documents.
        peer_sizes: entries for ours and Chroma.
        mem0_sizes: entries for mem0.
        queries: single questions; `warm_up` more come first and are not counted.
        block: how many questions a system answers before it is another's turn.
        batch: problems in one call.
        batches: calls with a batch.
        adds: additions to a pool; `additions` to an index or a peer.
        opens: fresh processes that open; `imports` fresh processes that import.
        served: questions a fresh process answers before its memory is read.
        score_queries: queries whose scores are compared.
        slow_queries: questions to rank_bm25, which takes half a second for each.
        rebuilds: how often a rebuilt index is built.
        budget_s: time for one peer to be filled at one size.
    """

    work: Path
    pool_sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    bm25_sizes: tuple[int, ...] = (10_000, 100_000)
    peer_sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    mem0_sizes: tuple[int, ...] = (1_000, 10_000)
    queries: int = 300
    warm_up: int = 20
    block: int = 20
    batch: int = 512
    batches: int = 7
    adds: int = 9
    additions: int = 9
    opens: int = 5
    imports: int = 11
    served: int = 200
    score_queries: int = 250
    slow_queries: int = 45
    rebuilds: int = 5
    budget_s: float = 600


def quick(work: Path) -> Settings:
    """The same flow in seconds: for tests, its figures mean nothing."""
    return Settings(
        work=work,
        pool_sizes=(320, 1_280),
        bm25_sizes=(500,),
        peer_sizes=(200,),
        mem0_sizes=(200,),
        queries=40,
        warm_up=5,
        batch=64,
        batches=2,
        adds=2,
        additions=2,
        opens=2,
        imports=2,
        served=40,
        score_queries=40,
        slow_queries=20,
        rebuilds=2,
        budget_s=60,
    )
