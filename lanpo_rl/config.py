"""All settings of a LANPO run: TRL's `GRPOConfig` and what the memory adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from trl import GRPOConfig

from lanpo_memory.errors import ConfigError

__all__ = ["LanpoConfig"]

_CHOICES = {
    "mode": ("inter", "intra", "both", "none"),
    "objective": ("in_context", "distill", "both"),
    "group_layout": ("shared", "mixed"),
    "retrieval_weight": ("relevance", "utility", "product"),
}
_SHARES = ("feedback_ratio", "intra_share", "guided_fraction")

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
        ConfigError: an unknown choice, a share outside 0..1, or a combination without meaning.

    Example:
        >>> LanpoConfig.preset("recommended", output_dir="out", use_cpu=True).objective
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
        metadata={"help": "memory: or a path; lanpo train turns memory: into OUTPUT_DIR/pool.db."},
    )
    pool_namespace: str = field(
        default="default", metadata={"help": "Runs that share a file keep apart by namespace."}
    )
    mode: str = field(
        default="inter",
        metadata={"help": "Kind of guidance: inter, intra, both or none."},
    )
    feedback_ratio: float = field(
        default=0.75, metadata={"help": "Probability p_t that a problem draws guidance."}
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
    retrieval_weight: str = field(
        default="relevance",
        metadata={"help": "Candidates are sorted by relevance, utility or their product."},
    )
    gamma: float | None = field(
        default=None,
        metadata={"help": "Least similarity of inter-sample guidance; empty: scorer's default."},
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
    summarise: bool = field(
        default=True,
        metadata={"help": "Let the policy summarise rollouts into the pool (not in mode intra)."},
    )
    summaries_per_group: int = field(
        default=1, metadata={"help": "Correct rollouts summarised of each group, at most."}
    )
    # 2048 tokens a summary: arXiv 2510.16552, appendix.
    summary_max_tokens: int = field(default=2048, metadata={"help": "Longest summary, in tokens."})
    header_bonus: float = field(
        default=0.1,
        metadata={"help": "Reward for the required section headers, on guided rollouts only."},
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
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.gamma is not None and not 0.0 <= self.gamma <= 1.0:
            raise ConfigError(f"gamma must lie between 0 and 1, got {self.gamma}")
        if self.remove_unused_columns:
            raise ConfigError(
                "remove_unused_columns must be false: the memory reads the problem's columns"
            )
        super().__post_init__()
        self._check_combination()

    def _check_combination(self) -> None:
        if self.group_layout == "mixed" and self.guides:
            if not 0 < self.guided_per_group < self.num_generations:
                raise ConfigError(
                    f"guided_fraction {self.guided_fraction} of {self.num_generations} generations "
                    "leaves one half of a mixed group empty; use group_layout='shared' or more "
                    "generations"
                )
            if self.use_vllm and self.vllm_mode == "server":
                raise ConfigError(
                    "vLLM server mode samples one prompt for a whole group: use "
                    "group_layout='shared', or vllm_mode='colocate'"
                )
        if self.reshapes_advantages and (
            self.scale_rewards == "batch"
            or self.multi_objective_aggregation != "sum_then_normalize"
        ):
            raise ConfigError(
                "mixed groups and the distilling term need scale_rewards 'group' or 'none' and "
                "multi_objective_aggregation 'sum_then_normalize'"
            )

    @property
    def guides(self) -> bool:
        """Whether any rollout can ever get guidance."""
        return self.mode != "none" and self.feedback_ratio > 0

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
