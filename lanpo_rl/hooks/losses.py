"""The loss with its distilling term: guided solutions told again under the bare prompt."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from lanpo_rl.distilling import SUMMED_LOSSES, bare_batch, distilled_slice, kept_tokens
from lanpo_rl.gates import failing
from lanpo_rl.hooks.base import Hooked
from lanpo_rl.metrics import entropy_metrics
from lanpo_rl.objectives import distill_advantages, halves_advantages
from lanpo_rl.plans import Outcome, Plan
from lanpo_rl.swapping import swapped

__all__ = ["DistillingLoss"]


class DistillingLoss(Hooked):
    """Adds the loss of guided rollouts under the bare prompt, and looks at entropies."""

    def _lanpo_weigh(self, batch: dict[str, Any], plan: Plan, outcome: Outcome) -> None:
        """Replace TRL's advantages where groups are mixed, and add what is to be distilled.

        The extra tensors have one row per rollout: TRL shuffles and splits them with the batch.
        """
        self._lanpo_remember(plan, outcome)
        guided_PG, device = plan.guided_PG, batch["advantages"].device
        if self.args.guides:
            batch["lanpo_guided"] = guided_PG.flatten()[plan.own].to(device)
        if not self.args.reshapes_advantages:
            return
        args, shape = self.args, guided_PG.shape
        scale = args.scale_rewards != "none"
        if guided_PG.any():
            advantages_PG = halves_advantages(outcome.total_N.view(shape), guided_PG, scale=scale)
            if args.objective == "distill":
                advantages_PG = advantages_PG.masked_fill(guided_PG, 0.0)
            batch["advantages"] = advantages_PG.flatten()[plan.own].to(device)
            self._lanpo_table_advantages(advantages_PG.flatten().tolist())
        if args.distills:
            distill_PG = distill_advantages(
                outcome.task_N.view(shape),
                guided_PG,
                weight=args.distill_weight,
                baseline_P=torch.full((shape[0],), self._lanpo_scratch_level or 0.0),
                scale=scale,
            )
            if distill_PG.any():  # the same on every rank
                self._lanpo_add_distilling(batch, plan, outcome, distill_PG.flatten()[plan.own])
            else:
                self._lanpo_metric("distilled_rows", 0.0)

    def _lanpo_table_advantages(self, advantages_N: list[float]) -> None:
        """In the table of completions stands what trains, not what TRL made of the mixed group."""
        column = self._logs["advantages"]
        shown = min(len(column), len(advantages_N))  # the table has room for one batch
        for i in range(1, shown + 1):
            column[-i] = advantages_N[-i]

    def _lanpo_remember(self, plan: Plan, outcome: Outcome) -> None:
        """What scratch rollouts say about the policy, and about each problem.

        The running mean is the baseline of groups that are all guided.
        """
        task_PG = outcome.task_N.view(plan.guided_PG.shape)
        scratch_PG = task_PG.masked_fill(plan.guided_PG, torch.nan)
        if not scratch_PG.isnan().all():
            now, before = float(scratch_PG.nanmean()), self._lanpo_scratch_level
            self._lanpo_scratch_level = now if before is None else before + 0.1 * (now - before)
        if self.args.gate == "when_failing" and not plan.in_turns:
            fails = failing(scratch_PG, correct_above=self.args.correct_above)
            for problem, failed in zip(plan.problems_P, fails, strict=True):
                if failed is not None:
                    self._lanpo_failing[problem.id] = failed

    def _lanpo_add_distilling(
        self, batch: dict[str, Any], plan: Plan, outcome: Outcome, advantages_n: Tensor
    ) -> None:
        """Bare prompts, and of each guided completion the part that solves the problem."""
        solutions = kept_tokens(batch["completion_ids"], batch["completion_mask"])
        advantages_n, missing = advantages_n.clone(), 0
        for i, (kind, text) in enumerate(zip(plan.kinds_n, outcome.texts_n, strict=True)):
            if not solutions[i]:
                advantages_n[i] = 0.0  # cut at the limit, and TRL was told to mask such ones
            elif advantages_n[i] > 0:
                solution = self._lanpo_prompts.solution(kind, text)
                if solution is None or not solution.strip():
                    advantages_n[i], missing = 0.0, missing + 1  # no section says how
                elif solution != text:
                    ids = self._tokenizer.encode(solution, add_special_tokens=False)
                    ids = ids[: self.max_completion_length - 1]
                    cut = self._lanpo_lengths_n[i][1]  # did not end by itself: teach no end
                    solutions[i] = ids if cut else [*ids, self._tokenizer.eos_token_id]
        counts = torch.tensor([missing, int((advantages_n > 0).sum())])
        counts = self.accelerator.reduce(counts.to(self.accelerator.device), reduction="sum")
        for name, count in zip(("undistillable", "distilled_rows"), counts.tolist(), strict=True):
            self._lanpo_metric(name, float(count))
        batch |= bare_batch(
            self._tokenize_prompts(plan.bare)[0],
            solutions,
            advantages_n.to(batch["prompt_ids"].device),
            fill=self._tokenizer.pad_token_id,
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        if not self.model.training:
            return loss
        self._lanpo_log_entropies(inputs)
        advantages = inputs.get("lanpo_advantages")
        if advantages is None:
            return loss
        # The same number of rows on every rank, for the forward pass and TRL's metrics in it are
        # collective: a rank with fewer fills up with rows of advantage 0.
        weighty = advantages > 0
        count = int(self.accelerator.gather(weighty.sum().reshape(1)).max())
        if not count:
            return loss
        if self.loss_type not in SUMMED_LOSSES:
            count = len(weighty)
        with self._lanpo_plain_loss():
            extra: Tensor = super()._compute_loss(model, distilled_slice(inputs, count))
        return loss + extra

    def _lanpo_plain_loss(self) -> AbstractContextManager[None]:
        """The policy term alone: no KL, no entropy bonus, no importance ratio, no second metrics.

        The rollouts were sampled under another prompt; old log-probs and their ratios do not apply.
        """
        return swapped(
            self,
            {
                "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
                "beta": 0.0,
                "_entropy_bonus_enabled": False,
                "aux_loss_enabled": False,
                "use_vllm": False,
                "off_policy_mask_threshold": None,
                "top_entropy_quantile": 1.0,
            },
        )

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if kwargs.get("compute_entropy"):
            self._lanpo_entropies = found[1]
        return found

    def _lanpo_log_entropies(self, inputs: dict[str, Any]) -> None:
        """Entropy of guided and of scratch tokens, from the forward pass that was made anyway."""
        guided, entropies = inputs.get("lanpo_guided"), self._lanpo_entropies
        if guided is None or entropies is None:
            return
        mask = inputs["completion_mask"].float() * inputs.get("tool_mask", 1.0)
        per_row = torch.stack([(entropies.detach() * mask).sum(1), mask.sum(1)], 1)
        sums = torch.cat([per_row[guided].sum(0), per_row[~guided].sum(0)])
        totals = self.accelerator.reduce(sums, reduction="sum").tolist()
        for name, value in entropy_metrics(totals).items():
            self._lanpo_metric(name, value)
