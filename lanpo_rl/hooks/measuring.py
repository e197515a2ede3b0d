"""Figures of every step, logged next to TRL's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from lanpo_memory.types import Guidance, Observation, Rollout
from lanpo_rl.alarms import by_age
from lanpo_rl.collective import gathered
from lanpo_rl.hooks.base import Hooked
from lanpo_rl.metrics import flip_metrics, memory_metrics, reward_metrics, text_metrics
from lanpo_rl.plans import Outcome, Plan

__all__ = ["Measures"]


class Measures(Hooked):
    """Looks at each batch once it is done, and at where the time went."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """See `GRPOTrainer.training_step`; what is neither sampling nor memory is the update."""
        with self._lanpo_clock("update"):
            loss = super().training_step(*args, **kwargs)
        self._lanpo_stepped = time.perf_counter()
        return loss

    def _lanpo_measure(
        self,
        plan: Plan,
        outcome: Outcome,
        rollouts: Sequence[Rollout],
        seen: Observation,
    ) -> None:
        """Logged through TRL: averaged over the logging interval, next to its own metrics."""
        lengths_N, cut_N = zip(*gathered(self._lanpo_lengths_n), strict=True)
        shape, guided_PG = plan.guided_PG.shape, plan.guided_PG
        figures = seen.retrieval
        self._lanpo_clock.move("retrieve", "judge", figures.judging_seconds)
        # One prompt for each rollout; a group whose rollouts have their own was counted in full.
        times = 1 if self.args.gate == "all_wrong" else plan.group - plan.scratch
        guidance_tokens = figures.guidance_tokens * times
        summary_prompts, summaries = self._lanpo_summary_tokens
        metrics = {
            **reward_metrics(outcome.task_N.view(shape), outcome.total_N.view(shape), guided_PG),
            **text_metrics(
                [r.completion for r in rollouts],
                lengths_N,
                cut_N,
                plan.guidance_N,
                prompts=self._lanpo_prompts,
            ),
            **flip_metrics(outcome.task_N, plan.looked_at, self.args.correct_above),
            **memory_metrics(seen),
            **self._lanpo_lessons_shown(plan, outcome),
            "completion_tokens": float(sum(lengths_N)),
            "guidance_tokens": float(guidance_tokens),
            "summary_tokens": float(summaries),
            "extra_tokens": float(
                guidance_tokens + summary_prompts + summaries + self._lanpo_canary_tokens
            ),
        }
        for name, value in metrics.items():
            self._lanpo_metric(name, value)

    def _lanpo_lessons_shown(self, plan: Plan, outcome: Outcome) -> dict[str, float]:
        groups = [next((g for g in group if g), Guidance()) for group in plan.guidance_PG]
        shown = [(p, g) for p, g in enumerate(groups) if g.lesson_ids]
        if not shown:
            return {}
        self._lanpo_lessons.add([g.lesson_ids for _, g in shown])
        figures = self._lanpo_lessons.figures()
        pool = getattr(self._lanpo_memory, "pool", None)
        if pool is None:
            return figures
        task_PG = outcome.task_N.view(plan.guided_PG.shape)
        rewards_P = task_PG.masked_fill(~plan.guided_PG, torch.nan).nanmean(1).tolist()
        ids = list(dict.fromkeys(one for _, g in shown for one in g.experience_ids))
        entries = dict(zip(ids, pool.get(ids), strict=True))
        uses = []
        for p, guidance in shown:
            found = [entries[one] for one in guidance.experience_ids]
            steps = [entry.metadata.step for entry in found if entry is not None]
            if steps:  # of several entries in a prompt the youngest counts
                uses.append((plan.step - max(steps), rewards_P[p]))
        return {**figures, **by_age(uses)}
