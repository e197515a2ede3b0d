"""LANPO on TRL's GRPO trainer: what happens before, during and after each batch of rollouts.

Four private methods of `trl.GRPOTrainer` are overridden; a contract test pins each of them:

1. `_generate_and_score_completions`: guide the prompts, let TRL sample and score, tell the memory.
2. `_calculate_rewards`: look at the rewards of the whole world.
3. `_compute_loss`: add the distilling term, the loss of guided rollouts under the bare prompt.
4. `_save_checkpoint` and `_load_optimizer_and_scheduler`: the memory travels with checkpoints.

Rank 0 alone holds the memory. Suffixes: _P problems, _G rollouts of a group, _N = P·G rows of the
world, _n rows of this rank.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer
from trl.trainer.utils import pad

from lanpo_memory.answering import answer
from lanpo_memory.errors import ConfigError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ExperienceAdapter, Prompts
from lanpo_memory.texts import storable
from lanpo_memory.types import (
    Completion,
    Guidance,
    Observation,
    Problem,
    Rollout,
)
from lanpo_rl.collective import from_main, gathered
from lanpo_rl.config import LanpoConfig
from lanpo_rl.memory import build_memory
from lanpo_rl.metrics import memory_metrics, reward_metrics
from lanpo_rl.objectives import distill_advantages, halves_advantages
from lanpo_rl.policy import PolicyModel
from lanpo_rl.rewards import SectionReward, completion_text
from lanpo_rl.rows import problem_of
from lanpo_rl.swapping import swapped

__all__ = ["LanpoTrainer"]

# Losses that are a sum over rows divided by a count of the whole batch: rows without weight may be
# left out of the second forward pass without changing the others' share.
_SUMMED_LOSSES = frozenset({"dapo", "cispo", "vespo"})


@dataclass
class _Plan:
    """One batch: whose turn it is, and what it is guided by. Lists of P are the world's."""

    step: int
    rows: list[dict[str, Any]]  # this rank's, prompts already guided
    bare: list[Any]  # this rank's prompts without guidance
    problems_P: list[Problem]
    guidance_P: list[Guidance]
    guided_PG: Tensor
    own: slice  # this rank's rows among the world's N
    seconds: dict[str, float]

    @property
    def kinds_n(self) -> list[str]:
        return [row["lanpo_guidance"] for row in self.rows]


@dataclass
class _Outcome:
    """What TRL's scoring said: rewards of the world, completions of this rank."""

    total_N: Tensor
    task_N: Tensor
    texts_n: list[str]


class LanpoTrainer(GRPOTrainer):
    """TRL's `GRPOTrainer` with an experience memory.

    Takes every argument of `GRPOTrainer`; `args` is a `LanpoConfig`. The dataset needs the column
    ``prompt``; ``problem`` (text), ``problem_id`` and ``family`` are used where they are there,
    else the problem is the prompt's last user message.

    Args:
        memory: asked before and told after each batch; built from `args` by default.
        prompts: the language of the roles; English by default.

    Raises:
        ConfigError: `args` is no `LanpoConfig`.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: LanpoConfig,
        *positional: Any,
        memory: ExperienceAdapter | None = None,
        prompts: Prompts | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, LanpoConfig):
            raise ConfigError("LanpoTrainer needs args=LanpoConfig(...)")
        self._lanpo_prompts: Prompts = EnglishPrompts() if prompts is None else prompts
        funcs = list(reward_funcs) if isinstance(reward_funcs, list) else [reward_funcs]
        if args.guides and args.header_bonus and _has_sections(self._lanpo_prompts, args.mode):
            funcs.append(SectionReward(self._lanpo_prompts, bonus=args.header_bonus))
            if args.reward_weights is not None:
                args.reward_weights = [*args.reward_weights, 1.0]
        super().__init__(model, funcs, args, *positional, **kwargs)
        self._lanpo_bonus = [i for i, f in enumerate(funcs) if isinstance(f, SectionReward)]
        self._lanpo_memory = memory
        if memory is None and self.accelerator.is_main_process:
            self._lanpo_memory = build_memory(
                args, prompts=self._lanpo_prompts, count_tokens=self._lanpo_count_tokens
            )
        self._lanpo_policy = PolicyModel(self)
        self._lanpo_scratch_level: float | None = None  # running mean of scratch task rewards
        self._lanpo_outcome: _Outcome | None = None

    @property
    def policy(self) -> PolicyModel:
        """The policy as a chat model, which writes the summaries; its ledger counts them."""
        return self._lanpo_policy

    @property
    def memory(self) -> ExperienceAdapter:
        """The memory, on the process that holds it."""
        if self._lanpo_memory is None:
            raise ConfigError("the memory lives on the main process only")
        return self._lanpo_memory

    def _lanpo_count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    # ------------------------------------------------------------------ 1. around the rollouts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(  # type: ignore[no-any-return]
                [{**row, "lanpo_guidance": "none"} for row in inputs]
            )
        plan = self._lanpo_guide(inputs)
        started = time.perf_counter()
        batch = super()._generate_and_score_completions(plan.rows)
        plan.seconds["rollout"] = time.perf_counter() - started
        outcome = self._lanpo_outcome
        assert outcome is not None  # set by _calculate_rewards
        observation = self._lanpo_tell(plan, outcome)
        self._lanpo_weigh(batch, plan, outcome)
        generated = self.accelerator.reduce(batch["completion_mask"].sum(), reduction="sum")
        self._lanpo_metric("completion_tokens", float(generated))
        for name, value in self._lanpo_measured(plan, outcome, observation).items():
            self._lanpo_metric(name, value)
        return batch  # type: ignore[no-any-return]

    def _lanpo_guide(self, inputs: list[dict[str, Any]]) -> _Plan:
        """Ask the memory once per group and put its guidance into (part of) the group's prompts."""
        started = time.perf_counter()
        group, step, n = self.num_generations, int(self.state.global_step), len(inputs)
        problems_P = gathered([problem_of(row) for row in inputs])[::group]
        guidance_P = from_main(self.accelerator, lambda: self.memory.prepare(problems_P, step=step))
        guided_PG = torch.zeros(len(problems_P), group, dtype=torch.bool)
        for p, guidance in enumerate(guidance_P):
            if guidance:
                guided_PG[p, group - self.args.guided_per_group :] = True
        first = self.accelerator.process_index * n
        rows = []
        for i, row in enumerate(inputs):
            p, g = divmod(first + i, group)  # groups may straddle ranks
            guidance = guidance_P[p] if guided_PG[p, g] else Guidance()
            guided = {"prompt": guidance.apply(row["prompt"]), "lanpo_guidance": guidance.kind}
            rows.append({**row, **guided})
        return _Plan(
            step=step,
            rows=rows,
            bare=[row["prompt"] for row in inputs],
            problems_P=problems_P,
            guidance_P=guidance_P,
            guided_PG=guided_PG,
            own=slice(first, first + n),
            seconds={"retrieve": time.perf_counter() - started},
        )

    def _lanpo_tell(self, plan: _Plan, outcome: _Outcome) -> Observation:
        """Report the rollouts; the policy answers what the memory asks."""
        texts_N = gathered(outcome.texts_n)
        rollouts = self._lanpo_rollouts(plan, texts_N, outcome.task_N.tolist())
        requests = from_main(self.accelerator, lambda: self.memory.ask(rollouts, step=plan.step))
        started = time.perf_counter()
        found = answer(self._lanpo_policy, requests, temperature=self.temperature)
        plan.seconds["summarise"] = time.perf_counter() - started
        self._lanpo_summary_tokens = sum(
            one.completion_tokens for one in found.answers if isinstance(one, Completion)
        )
        observation = from_main(
            self.accelerator,
            lambda: self.memory.ingest(rollouts, found.answers, step=plan.step),
        )
        if found.ended is not None:
            raise found.ended
        return observation

    def _lanpo_rollouts(
        self, plan: _Plan, texts_N: Sequence[str], rewards_N: Sequence[float]
    ) -> list[Rollout]:
        group, rollouts = self.num_generations, []
        for i, (text, reward) in enumerate(zip(texts_N, rewards_N, strict=True)):
            p, g = divmod(i, group)
            scored = reward == reward  # NaN: no reward function had anything to say
            rollouts.append(
                Rollout(
                    problem=plan.problems_P[p],
                    completion=storable(text),
                    reward=reward if scored else None,
                    correct=reward > self.args.correct_above if scored else None,
                    step=plan.step,
                    group=f"{plan.step}:{p}",
                    guidance=plan.guidance_P[p] if plan.guided_PG[p, g] else None,
                )
            )
        return rollouts

    # ------------------------------------------------------------------ 2. rewards

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        weights = self.reward_weights.to(rewards.device)
        task = weights.clone()
        task[self._lanpo_bonus] = 0.0
        unscored = _unscored(rewards, self._lanpo_bonus)
        self._lanpo_outcome = _Outcome(
            total_N=(rewards * weights).nansum(1).masked_fill(unscored, torch.nan).cpu(),
            task_N=(rewards * task).nansum(1).masked_fill(unscored, torch.nan).cpu(),
            texts_n=[completion_text(c) for c in completions],
        )
        return rewards

    # ------------------------------------------------------------------ 3. the loss

    def _lanpo_weigh(self, batch: dict[str, Any], plan: _Plan, outcome: _Outcome) -> None:
        """Replace TRL's advantages where groups are mixed, and add what is to be distilled.

        The extra tensors have one row per rollout: TRL shuffles and splits them with the batch.
        """
        if not self.args.reshapes_advantages:
            return
        args, device = self.args, batch["advantages"].device
        scale = args.scale_rewards != "none"
        shape, guided_PG = plan.guided_PG.shape, plan.guided_PG
        if guided_PG.any():
            advantages_PG = halves_advantages(outcome.total_N.view(shape), guided_PG, scale=scale)
            if args.objective == "distill":
                advantages_PG = advantages_PG.masked_fill(guided_PG, 0.0)
            batch["advantages"] = advantages_PG.flatten()[plan.own].to(device)
        if args.objective != "in_context":
            distill_PG = distill_advantages(
                outcome.task_N.view(shape),
                guided_PG,
                weight=args.distill_weight,
                baseline_P=torch.full((shape[0],), self._lanpo_level(plan, outcome)),
                scale=scale,
            )
            if distill_PG.any():
                self._lanpo_add_distilling(batch, plan, outcome, distill_PG.flatten()[plan.own])

    def _lanpo_level(self, plan: _Plan, outcome: _Outcome) -> float:
        """Running mean of scratch task rewards: the baseline of groups that are all guided."""
        scratch = outcome.task_N.view(plan.guided_PG.shape)[~plan.guided_PG]
        if len(scratch) and not torch.isnan(scratch).all():
            now, before = float(scratch.nanmean()), self._lanpo_scratch_level
            self._lanpo_scratch_level = now if before is None else before + 0.1 * (now - before)
        return self._lanpo_scratch_level or 0.0

    def _lanpo_add_distilling(
        self, batch: dict[str, Any], plan: _Plan, outcome: _Outcome, advantages_n: Tensor
    ) -> None:
        """Bare prompts, and of each guided completion the part that solves the problem."""
        device = batch["prompt_ids"].device
        ids_n, mask_n = batch["completion_ids"].tolist(), batch["completion_mask"].bool().tolist()
        solutions, advantages_n = [], advantages_n.clone()
        for i, (kind, text) in enumerate(zip(plan.kinds_n, outcome.texts_n, strict=True)):
            own = [t for t, keep in zip(ids_n[i], mask_n[i], strict=True) if keep]
            if advantages_n[i] > 0:
                solution = self._lanpo_prompts.solution(kind, text)  # type: ignore[arg-type]
                if solution is None:
                    advantages_n[i] = 0.0  # right, but without the section that says how
                    self._lanpo_metric("undistillable", 1.0)
                elif solution != text:
                    own = self._tokenizer.encode(solution, add_special_tokens=False)
                    own = [*own[: self.max_completion_length - 1], self._tokenizer.eos_token_id]
            solutions.append(own)
        prompts = self._tokenize_prompts(plan.bare)[0]
        fill = self._tokenizer.pad_token_id
        for name, rows, side in (("prompt", prompts, "left"), ("completion", solutions, "right")):
            tensors = [torch.tensor(row) for row in rows]
            ones = [torch.ones_like(t) for t in tensors]
            batch[f"lanpo_{name}_ids"] = pad(tensors, fill, side).to(device)
            batch[f"lanpo_{name}_mask"] = pad(ones, 0, side).to(device)
        batch["lanpo_advantages"] = advantages_n.to(device)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss: Tensor = super()._compute_loss(model, inputs)
        advantages = inputs.get("lanpo_advantages")
        if advantages is None or not self.model.training:
            return loss
        weighty = advantages > 0
        # The same number of rows on every rank, for the forward pass and TRL's metrics in it are
        # collective: a rank with fewer fills up with rows of advantage 0.
        count = int(self.accelerator.gather(weighty.sum().reshape(1)).max())
        if not count:
            return loss
        if self.loss_type not in _SUMMED_LOSSES:
            count = len(weighty)
        rows = weighty.int().argsort(descending=True, stable=True)[:count].sort().values
        bare = {
            name: inputs[f"lanpo_{name}"][rows]
            for name in (
                "prompt_ids",
                "prompt_mask",
                "completion_ids",
                "completion_mask",
                "advantages",
            )
        }
        bare["num_items_in_batch"] = inputs["num_items_in_batch"]
        with self._lanpo_plain_loss():
            extra: Tensor = super()._compute_loss(model, bare)
        self._lanpo_metric("distilled_rows", float(weighty.sum()))
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

    # ------------------------------------------------------------------ 4. checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save and self._lanpo_memory is not None:
            folder = Path(self._get_output_dir(trial=trial))
            folder = folder / f"checkpoint-{self.state.global_step}" / "lanpo"
            self._lanpo_memory.save(folder)
            state = json.dumps({"scratch_level": self._lanpo_scratch_level})
            (folder / "trainer.json").write_text(state, encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        folder = Path(checkpoint) / "lanpo"
        if not (folder / "trainer.json").is_file():
            raise ConfigError(f"{checkpoint} holds no memory: it was not saved by LanpoTrainer")
        state = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        self._lanpo_scratch_level = state["scratch_level"]
        if self._lanpo_memory is not None:
            self._lanpo_memory.load(folder)

    # ------------------------------------------------------------------ metrics

    def _lanpo_measured(
        self, plan: _Plan, outcome: _Outcome, seen: Observation
    ) -> dict[str, float]:
        """Logged through TRL: averaged over the logging interval, next to its own metrics."""
        shape = plan.guided_PG.shape
        guidance_tokens = seen.retrieval.guidance_tokens * self.args.guided_per_group
        return {
            **reward_metrics(
                outcome.task_N.view(shape), outcome.total_N.view(shape), plan.guided_PG
            ),
            **memory_metrics(seen),
            "guidance_tokens": float(guidance_tokens),
            "summary_tokens": float(self._lanpo_summary_tokens),
            **{f"{stage}_ms": 1000 * seconds for stage, seconds in plan.seconds.items()},
        }

    def _lanpo_metric(self, name: str, value: float) -> None:
        self._metrics["train"][f"lanpo/{name}"].append(value)


def _has_sections(prompts: Prompts, mode: str) -> bool:
    kinds = ("inter", "intra") if mode == "both" else (mode,)
    return any(prompts.sections(kind) for kind in kinds)  # type: ignore[arg-type]


def _unscored(rewards: Tensor, bonus: list[int]) -> Tensor:
    """Rows for which every task reward is missing (the format bonus alone is no score)."""
    keep = [i for i in range(rewards.shape[1]) if i not in bonus]
    return torch.isnan(rewards[:, keep]).all(1)
