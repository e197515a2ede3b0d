"""Build the memory that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable

from lanpo_memory.adapter import PoolAdapter
from lanpo_memory.admission import Admission, admit_contrast, admit_correct
from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import Guide, approximate_tokens
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.protocols import Prompts, Relevance, Summarizer
from lanpo_memory.summarizers import ContrastiveSummarizer, ExtractiveSummarizer, LLMSummarizer
from lanpo_memory.types import Problem
from lanpo_rl.config import LanpoConfig

__all__ = ["build_memory", "build_summarizer"]


def build_memory(
    config: LanpoConfig,
    *,
    prompts: Prompts,
    pool: ExperiencePool | None = None,
    relevance: Relevance | None = None,
    summarizer: Summarizer | None = None,
    admission: Admission | None = None,
    count_tokens: Callable[[str], int] = approximate_tokens,
    prompt_tokens: Callable[[Problem], int] | None = None,
) -> PoolAdapter:
    """Return the adapter for a run: its pool, guide and summarizer.

    The adapter has no model of its own: the trainer lets the policy answer. In mode ``intra``
    nothing is summarised: attempts are kept as they are, and no experience would ever be read.

    Args:
        config: what the run is to be.
        prompts: the language of the roles.
        pool: in place of the one that `config` names.
        relevance: in place of the judge that it names.
        summarizer: in place of the one that it names.
        admission: which rollouts are summarised, in place of what it says.
        count_tokens: how long a text is.
        prompt_tokens: how long a problem's bare prompt is, for `max_prompt_tokens`.

    Raises:
        ConfigError: the prompts cannot ask what the summarizer wants to know.
        MissingExtraError: an embedder or a judge is named, and what it needs is not installed.
    """
    pool = _pool(config) if pool is None else pool
    guide = Guide(
        pool,
        prompts=prompts,
        relevance=_judge(config, pool) if relevance is None else relevance,
        gamma=config.gamma,
        drop_templates=config.drop_templates,
        weight=config.retrieval_weight,  # type: ignore[arg-type]
        experiences=config.experiences_per_prompt,
        shortlist=config.shortlist,
        max_tokens=config.guidance_max_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
        count_tokens=count_tokens,
        prompt_tokens=prompt_tokens,
    )
    return PoolAdapter(
        pool,
        guide=guide,
        summarizer=build_summarizer(config, prompts=prompts) if summarizer is None else summarizer,
        mode=config.mode,  # type: ignore[arg-type]
        feedback_ratio=config.ratio,
        intra_share=config.intra_share,
        admission=_admission(config) if admission is None else admission,
        seed=config.seed,
        # A gate guides where scratch rollouts happened to fail: the difference flatters guidance.
        randomised=config.group_layout == "mixed" and not config.outcome_gated,
    )


def build_summarizer(config: LanpoConfig, *, prompts: Prompts) -> Summarizer | None:
    """Return what turns rollouts into experiences, `None` where a run writes none.

    Raises:
        ConfigError: the prompts cannot ask for a contrast.
    """
    if not config.summarise or config.mode == "intra":
        return None
    if config.summarizer == "extractive":
        return ExtractiveSummarizer()
    if config.summarizer == "llm":
        return LLMSummarizer(prompts=prompts, max_tokens=config.summary_max_tokens)
    if not callable(getattr(prompts, "contrast", None)):
        raise ConfigError(
            f"{type(prompts).__name__} cannot ask for a contrast; use summarizer='llm'"
        )
    return ContrastiveSummarizer(
        prompts=prompts,  # type: ignore[arg-type]
        max_tokens=config.summary_max_tokens,
        right=config.summaries_per_group,
        wrong=config.summaries_per_group,
    )


def _admission(config: LanpoConfig) -> Admission:
    each = config.summaries_per_group
    return admit_contrast(each, each) if config.summarizer == "contrastive" else admit_correct(each)


def _pool(config: LanpoConfig) -> ExperiencePool:
    if config.embedder is None:
        return open_pool(config.pool, namespace=config.pool_namespace)
    from lanpo_memory.embedders import SentenceTransformerEmbedder

    embedder = SentenceTransformerEmbedder(config.embedder)
    return open_pool(config.pool, namespace=config.pool_namespace, embedder=embedder)


def _judge(config: LanpoConfig, pool: ExperiencePool) -> Relevance | None:
    if config.judge is None or config.mode == "intra" or not config.guides:
        return None
    from lanpo_memory.models import TransformersModel
    from lanpo_memory.relevance import JudgeRelevance

    return JudgeRelevance(TransformersModel(config.judge), store=pool.store)
