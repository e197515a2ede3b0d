"""How a run trained: what groups taught, how sure the policy was, and how guidance was used."""

from __future__ import annotations

from lanpo_rl.study.results import ArmResult

__all__ = ["METRICS", "blocks_of", "diagnostics", "early_and_late", "window"]

METRICS = (
    "reward",
    "reward_guided",
    "reward_scratch",
    "zero_variance_guided",
    "zero_variance_scratch",
    "frac_reward_zero_std",
    "entropy",
    "entropy_guided",
    "entropy_scratch",
    "feedback_ratio",
    "guided_rows",
    "hit_rate",
    "length_guided",
    "length_scratch",
    "truncated_prompts",
    "dropped_for_budget",
    "completion_tokens",
    "summary_tokens",
)
"""What is kept of the log, by the name it has there without ``lanpo/``."""

_STEPS = 10
_WINDOW = 40


def _logged(name: str) -> str:
    return name if name in ("reward", "entropy", "frac_reward_zero_std") else f"lanpo/{name}"


def _last_step(run: ArmResult) -> int:
    return int(max((row["step"] for row in run.log), default=0))


def blocks_of(run: ArmResult) -> dict[str, list[float | None]]:
    """Return the means of `METRICS` over blocks of 10 steps; `step` is the last of each block.

    Metrics that were never logged are left out.
    """
    ends = [*range(_STEPS, _last_step(run) + _STEPS, _STEPS)]
    last = _last_step(run)
    table: dict[str, list[float | None]] = {"step": [float(min(end, last)) for end in ends]}
    for name in METRICS:
        means = [run.mean(_logged(name), end - _STEPS + 1, end) for end in ends]
        if any(mean is not None for mean in means):
            table[name] = means
    return table


def window(run: ArmResult) -> int:
    """How many steps are early, and how many late: 40, or half of a shorter run."""
    return min(_WINDOW, max(1, _last_step(run) // 2))


def early_and_late(run: ArmResult, metric: str) -> tuple[float | None, float | None]:
    """Return the means of a metric over the first and over the last steps."""
    size, last, name = window(run), _last_step(run), _logged(metric)
    return run.mean(name, 1, size), run.mean(name, last - size + 1, last)


def diagnostics(run: ArmResult) -> dict[str, float | None]:
    """Return the figures of the table of diagnostics."""
    entropy = early_and_late(run, "entropy")
    guided = early_and_late(run, "reward_guided")
    scratch = early_and_late(run, "reward_scratch")
    return {
        "zero_variance_guided": run.mean("lanpo/zero_variance_guided"),
        "zero_variance_scratch": run.mean("lanpo/zero_variance_scratch"),
        "entropy_early": entropy[0],
        "entropy_late": entropy[1],
        "guided_rows": run.mean("lanpo/guided_rows"),
        "hit_rate": run.mean("lanpo/hit_rate"),
        "reward_guided_early": guided[0],
        "reward_guided_late": guided[1],
        "reward_scratch_early": scratch[0],
        "reward_scratch_late": scratch[1],
        "truncated_prompts": _total(run, "truncated_prompts"),
        "dropped_for_budget": _total(run, "dropped_for_budget"),
        "length_guided": run.mean("lanpo/length_guided"),
        "length_scratch": run.mean("lanpo/length_scratch"),
        "summary_tokens": _total(run, "summary_tokens"),
    }


def _total(run: ArmResult, metric: str) -> float | None:
    values = [row[_logged(metric)] for row in run.log if _logged(metric) in row]
    return sum(values) if values else None
