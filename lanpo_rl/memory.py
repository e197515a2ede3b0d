"""Build the memory that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.admission import admit_correct
from lanpo_memory.guide import Guide, approximate_tokens
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.protocols import Prompts
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_rl.config import LanpoConfig

__all__ = ["build_memory"]


def build_memory(
    config: LanpoConfig,
    *,
    prompts: Prompts,
    pool: ExperiencePool | None = None,
    count_tokens: Callable[[str], int] = approximate_tokens,
) -> PoolAdapter:
    """Return the adapter for a run: its pool, guide and summarizer.

    The adapter has no model of its own: the trainer lets the policy answer. In mode ``intra``
    nothing is summarised: attempts are kept as they are, and no experience would ever be read.
    """
    pool = open_pool(config.pool, namespace=config.pool_namespace) if pool is None else pool
    guide = Guide(
        pool,
        prompts=prompts,
        gamma=config.gamma,
        weight=config.retrieval_weight,  # type: ignore[arg-type]
        experiences=config.experiences_per_prompt,
        shortlist=config.shortlist,
        max_tokens=config.guidance_max_tokens,
        count_tokens=count_tokens,
    )
    summarizer = LLMSummarizer(prompts=prompts, max_tokens=config.summary_max_tokens)
    return PoolAdapter(
        pool,
        guide=guide,
        summarizer=summarizer if config.summarise and config.mode != "intra" else None,
        mode=config.mode,  # type: ignore[arg-type]
        feedback_ratio=config.feedback_ratio,
        intra_share=config.intra_share,
        admission=admit_correct(config.summaries_per_group),
        seed=config.seed,
        randomised=config.group_layout == "mixed",
    )
