"""All settings of a LANPO run: TRL's `GRPOConfig` and what the memory adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from trl import GRPOConfig

from lanpo_memory.errors import ConfigError
from lanpo_memory.schedules import Schedule, linear
from lanpo_memory.stores import shown
from lanpo_rl.combinations import nonsense

__all__ = ["LanpoConfig"]

_CHOICES = {
    "mode": ("inter", "intra", "both", "none"),
    "objective": ("in_context", "distill", "both"),
    "group_layout": ("shared", "mixed"),
    "retrieval_weight": ("relevance", "utility", "product", "recency"),
    "gate": ("always", "when_failing", "all_wrong"),
    "summarizer": ("llm", "contrastive", "extractive"),
    "summarizer_weights": ("current", "frozen"),
}
_SHARES = (
    "feedback_ratio",
    "feedback_ratio_end",
    "intra_share",
    "guided_fraction",
    "reflect_on_right",
    "gamma",
)
_COUNTS = {
    "experiences_per_prompt": 1,
    "shortlist": 1,
    "guidance_max_tokens": 1,
    "max_prompt_tokens": 1,
    "feedback_ratio_steps": 1,
    "summaries_per_group": 1,
    "summary_max_tokens": 1,
    "canary_every": 0,
}

_PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2510.16552: the whole group under one context, the loss under that context.
    "paper": {
        "objective": "in_context",
        "group_layout": "shared",
        "feedback_ratio": 0.75,
        "retrieval_weight": "relevance",
    },
    # Half-guided groups, both losses, utility-weighted retrieval: the best of the variants tried.
    "recommended": {
        "objective": "both",
        "group_layout": "mixed",
        "guided_fraction": 0.5,
        "feedback_ratio": 0.75,
        "distill_weight": 3.0,
        "retrieval_weight": "utility",
    },
    # Plain GRPO that fills a pool without ever reading it.
    "grpo": {"feedback_ratio": 0.0, "objective": "in_context", "group_layout": "shared"},
}


@dataclass
class LanpoConfig(GRPOConfig):
    """`GRPOConfig` plus the memory. Learning rate, batch, KL and the rest are TRL's own.

    Three fields of TRL are stated here again because they differ from the paper: `beta` (0 in TRL,
    0.0005 in the paper), `loss_type` ("dapo") and `remove_unused_columns` (must stay false, or the
    problem's columns are lost).

    Raises:
        ConfigError: an unknown choice, a share outside 0..1, or a combination without meaning,
            which `lanpo_rl.combinations` lists.

    Example:
        >>> settings = {"output_dir": "out", "use_cpu": True, "activation_checkpointing": False}
        >>> LanpoConfig.preset("recommended", **settings).objective
        'both'
    """

    PRESETS: ClassVar[tuple[str, ...]] = tuple(_PRESETS)

    beta: float = field(default=0.0, metadata={"help": "KL coefficient; the paper uses 0.0005."})
    loss_type: str = field(default="dapo", metadata={"help": "TRL's loss normalisation."})
    remove_unused_columns: bool | None = field(
        default=False, metadata={"help": "Must be false: the memory reads the problem's columns."}
    )

    pool: str = field(
        default="memory:",
        metadata={
            "help": "memory:, a path, or an address such as postgresql://...; lanpo train turns "
            "memory: into OUTPUT_DIR/pool.db."
        },
    )
    pool_namespace: str = field(
        default="default",
        metadata={"help": "Runs that share a file or a database keep apart by namespace."},
    )
    mode: str = field(
        default="inter",
        metadata={"help": "Kind of guidance: inter, intra, both or none."},
    )
    feedback_ratio: float = field(
        default=0.75, metadata={"help": "Probability p_t that a problem draws guidance."}
    )
    feedback_ratio_end: float | None = field(
        default=None,
        metadata={"help": "Where feedback_ratio goes, linearly, over feedback_ratio_steps."},
    )
    feedback_ratio_steps: int | None = field(
        default=None, metadata={"help": "Steps after which feedback_ratio_end is reached."}
    )
    intra_share: float = field(
        default=0.5, metadata={"help": "Share of intra-sample guidance in mode both."}
    )
    objective: str = field(
        default="in_context",
        metadata={
            "help": "in_context: loss under the guided prompt (the paper). distill: loss under the "
            "bare prompt. both: both losses on every guided rollout."
        },
    )
    group_layout: str = field(
        default="shared",
        metadata={"help": "shared: a whole group is guided. mixed: only guided_fraction of it."},
    )
    guided_fraction: float = field(
        default=0.5, metadata={"help": "Share of a mixed group that is guided."}
    )
    distill_weight: float = field(
        default=1.0, metadata={"help": "Weight of the distilling term against the in-context one."}
    )
    gate: str = field(
        default="always",
        metadata={
            "help": "always: the coin alone decides. when_failing: guidance only where none of the "
            "problem's scratch rollouts is right. all_wrong: the same, and what is looked at is a "
            "scratch rollout of this very step (modes intra and both). The last two are gated by "
            "the outcome: not reward-agnostic."
        },
    )
    reflect_on_right: float = field(
        default=0.0,
        metadata={
            "help": "With gate all_wrong: share of the groups with a right rollout that reflect "
            "all the same."
        },
    )
    retrieval_weight: str = field(
        default="relevance",
        metadata={
            "help": "Candidates are sorted by relevance, utility, their product, or recency "
            "(newest first)."
        },
    )
    gamma: float | None = field(
        default=None,
        metadata={"help": "Least similarity of inter-sample guidance; empty: scorer's default."},
    )
    embedder: str | None = field(
        default=None,
        metadata={"help": "Sentence-transformers model that orders what BM25 finds; empty: none."},
    )
    judge: str | None = field(
        default=None,
        metadata={
            "help": "Causal language model whose P(yes) replaces similarity (the paper's filter); "
            "it runs on the main process."
        },
    )
    drop_templates: bool = field(
        default=False,
        metadata={"help": "Leave out experiences of the same problem with other numbers, too."},
    )
    experiences_per_prompt: int = field(
        default=1, metadata={"help": "Most experiences in one prompt."}
    )
    shortlist: int = field(
        default=4, metadata={"help": "Guidance is drawn from this many of the best candidates."}
    )
    guidance_max_tokens: int | None = field(
        default=2048,
        metadata={"help": "Token budget of the guidance; whole experiences are left out to fit."},
    )
    max_prompt_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Token budget of guidance and bare prompt together; the paper has 3072. Whole "
            "experiences are left out to fit; a bare prompt is never touched."
        },
    )
    summarise: bool = field(
        default=True,
        metadata={"help": "Let the policy summarise rollouts into the pool (not in mode intra)."},
    )
    summarizer: str = field(
        default="llm",
        metadata={
            "help": "llm: one experience from each right rollout admitted. contrastive: from right "
            "and wrong rollouts of a group together. extractive: sentences copied, no model."
        },
    )
    summarizer_weights: str = field(
        default="current",
        metadata={"help": "Who writes summaries: the current policy, or a frozen copy of it."},
    )
    summaries_per_group: int = field(
        default=1,
        metadata={
            "help": "Right rollouts summarised of each group, at most; contrastive: as many wrong "
            "ones beside them."
        },
    )
    # 2048 tokens a summary: arXiv 2510.16552, appendix.
    summary_max_tokens: int = field(default=2048, metadata={"help": "Longest summary, in tokens."})
    header_bonus: float = field(
        default=0.1,
        metadata={"help": "Reward for the required section headers, on guided rollouts only."},
    )
    alarms: bool = field(
        default=True, metadata={"help": "Watch for known failures; they are logged lines."}
    )
    canary_every: int = field(
        default=25,
        metadata={
            "help": "Steps between two readings of the canary summaries; 0 for none, as without "
            "alarms or with a frozen summarizer."
        },
    )
    correct_above: float = field(
        default=0.5, metadata={"help": "A rollout is correct if its task reward is above this."}
    )

    def __post_init__(self) -> None:
        """Check the settings that are ours, then let TRL check its own."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}"
                )
        for name in _SHARES:
            share = getattr(self, name)
            if share is not None and not 0.0 <= share <= 1.0:
                raise ConfigError(f"{name} must lie between 0 and 1, got {share}")
        for name, least in _COUNTS.items():
            count = getattr(self, name)
            if count is not None and count < least:
                raise ConfigError(f"{name} must be at least {least}, got {count}")
        if self.remove_unused_columns:
            raise ConfigError(
                "remove_unused_columns must be false: the memory reads the problem's columns"
            )
        super().__post_init__()
        for reason in nonsense(self):
            raise ConfigError(reason)

    @property
    def guides(self) -> bool:
        """Whether any rollout can ever get guidance."""
        return self.mode != "none" and max(self.feedback_ratio, self.feedback_ratio_end or 0) > 0

    @property
    def outcome_gated(self) -> bool:
        """Whether rewards have a say in what is shown: not reward-agnostic then."""
        return self.guides and self.gate != "always"

    @property
    def samples_in_turns(self) -> bool:
        """Whether the scratch part of a group is sampled, and scored, before the guided part."""
        return self.outcome_gated and self.group_layout == "mixed"

    @property
    def distills(self) -> bool:
        """Whether the loss has a distilling term."""
        return self.guides and self.objective != "in_context"

    @property
    def ratio(self) -> float | Schedule:
        """The probability of drawing guidance, as a number or a function of the step."""
        if self.feedback_ratio_end is None or self.feedback_ratio_steps is None:
            return self.feedback_ratio
        return linear(self.feedback_ratio, self.feedback_ratio_end, steps=self.feedback_ratio_steps)

    @property
    def guided_per_group(self) -> int:
        """How many rollouts of a guided group carry guidance."""
        if self.group_layout == "shared":
            return int(self.num_generations)
        return round(int(self.num_generations) * self.guided_fraction)

    @property
    def reshapes_advantages(self) -> bool:
        """Whether advantages other than TRL's own are used."""
        return self.guides and (self.group_layout == "mixed" or self.objective != "in_context")

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for trackers and logs: the pool's without its password."""
        return {**super().to_dict(), "pool": shown(self.pool)}

    def __str__(self) -> str:
        return str(super().__str__()).replace(self.pool, shown(self.pool))

    __repr__ = __str__

    @classmethod
    def preset(cls, name: str, **settings: Any) -> Self:
        """Return a named preset with your settings on top.

        ``paper``, ``recommended`` or ``grpo`` (fills a pool, never reads it). No preset sets a
        learning rate or a schedule: those belong to your model and task.
        """
        return cls(**{**preset_settings(name), **settings})


def preset_settings(name: str) -> dict[str, Any]:
    """Return a preset's settings by name.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in _PRESETS:
        raise ConfigError(f"there is no preset {name!r}; known: {', '.join(_PRESETS)}")
    return dict(_PRESETS[name])
