"""LANPO on TRL's GRPO trainer: what happens before, during and after each batch of rollouts.

These methods of `trl.GRPOTrainer`, most of them private, are overridden; a contract test pins each:

1. `_generate_and_score_completions`: guide the prompts, let TRL sample and score, tell the memory.
2. `_generate`: where a gate looks at outcomes, sample the scratch part of each group first.
3. `_calculate_rewards`: look at the rewards of the whole world.
4. `_compute_loss`: add the distilling term, the loss of guided rollouts under the bare prompt.
5. `_save_checkpoint`, `_load_optimizer_and_scheduler`, `train`: the memory is in checkpoints; of
   what these and `save_model` write, no password of a pool.
6. `training_step`, `_get_per_token_logps_and_entropies`: times and entropies are looked at.

Rank 0 alone holds the memory. Suffixes: _P problems, _G rollouts of a group, _N = P·G rows of the
world, _n rows of this rank.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lanpo_memory.answering import answer
from lanpo_memory.errors import ConfigError
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ChatModel, ExperienceAdapter, Prompts
from lanpo_memory.texts import storable
from lanpo_memory.types import (
    Completion,
    Failure,
    Observation,
    Problem,
    Request,
    Rollout,
)
from lanpo_rl.alarms import Alarms, Canary, LessonsShown, default_alarms
from lanpo_rl.callbacks import Boundaries, StageTimes, Watching
from lanpo_rl.clock import StageClock
from lanpo_rl.collective import from_main, gathered
from lanpo_rl.config import LanpoConfig
from lanpo_rl.fitness import check_images, check_parts, check_saving, check_size
from lanpo_rl.frozen import FrozenPolicy, frozen_copy
from lanpo_rl.hooks import DistillingLoss, KeepsMemory, Measures, SamplesInTurns
from lanpo_rl.memory import build_memory, build_summarizer
from lanpo_rl.plans import Outcome, Plan
from lanpo_rl.policy import PolicyModel
from lanpo_rl.rewards import SectionReward, checked, completion_text
from lanpo_rl.rows import SeenProblems, check_dataset, problem_of
from lanpo_rl.swapping import swapped

__all__ = ["LanpoTrainer"]

_log = logging.getLogger(__name__)

_OF_A_PROBLEM = ("prompt", "problem", "problem_id", "family")


class LanpoTrainer(SamplesInTurns, DistillingLoss, KeepsMemory, Measures):
    """TRL's `GRPOTrainer` with an experience memory.

    Takes every argument of `GRPOTrainer`; `args` is a `LanpoConfig`. The dataset needs the column
    ``prompt``; ``problem`` (text), ``problem_id`` and ``family`` are used where they are there,
    else the problem is the prompt's last user message.

    Args:
        memory: asked before and told after each batch; built from `args` by default.
        prompts: the language of the roles; English by default.
        alarms: what is watched for; the usual failures by default, as long as `args.alarms`.

    Raises:
        ConfigError: `args` is no `LanpoConfig`, or the parts do not go together.
        InvalidInputError: rows of the dataset contradict each other; they are named.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: LanpoConfig,
        *positional: Any,
        memory: ExperienceAdapter | None = None,
        prompts: Prompts | None = None,
        alarms: Alarms | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, LanpoConfig):
            raise ConfigError("LanpoTrainer needs args=LanpoConfig(...)")
        check_parts(args, {**kwargs, "memory": memory, "prompts": prompts, "alarms": alarms})
        dataset = positional[0] if positional else kwargs.get("train_dataset")
        check_dataset(dataset)
        check_size(args, dataset)
        self._lanpo_seen = SeenProblems() if _made_on_the_way(dataset) else None
        self._lanpo_prompts: Prompts = EnglishPrompts() if prompts is None else prompts
        funcs = list(reward_funcs) if isinstance(reward_funcs, list) else [reward_funcs]
        funcs = [checked(func) for func in funcs if func is not None]
        weights = args.reward_weights
        if args.guides and args.header_bonus and _has_sections(self._lanpo_prompts, args.mode):
            funcs.append(SectionReward(self._lanpo_prompts, bonus=args.header_bonus))
            if weights is not None:
                args.reward_weights = [*weights, 1.0]
            processing = kwargs.get("reward_processing_classes")
            if isinstance(processing, list):
                kwargs["reward_processing_classes"] = [*processing, None]
        frozen, adapters = None, _has_adapters(model, kwargs)
        if args.summarizer_weights == "frozen" and not adapters:
            frozen = frozen_copy(model, args.model_init_kwargs)
        # Before TRL's own constructor, which already asks for some of them.
        self._lanpo_plan: Plan | None = None
        self._lanpo_outcome: Outcome | None = None
        self._lanpo_entropies: Tensor | None = None
        self._lanpo_clock, self._lanpo_stepped = StageClock(), time.perf_counter()
        super().__init__(model, funcs, args, *positional, **kwargs)
        args.reward_weights = weights  # the settings are the caller's
        self._lanpo_bonus = [i for i, f in enumerate(funcs) if isinstance(f, SectionReward)]
        self._lanpo_check_groups()
        self._lanpo_prompt_tokens: dict[str, int] = {}
        self._lanpo_memory = memory
        if memory is None and self.accelerator.is_main_process:
            self._lanpo_memory = build_memory(
                args,
                prompts=self._lanpo_prompts,
                count_tokens=self._lanpo_count_tokens,
                prompt_tokens=lambda problem: self._lanpo_prompt_tokens.get(problem.id, 0),
            )
        self._lanpo_policy = PolicyModel(self)
        self._lanpo_writer: PolicyModel | FrozenPolicy = self._lanpo_policy
        if args.summarizer_weights == "frozen":
            self._lanpo_writer = FrozenPolicy(self, frozen)
        self._lanpo_scratch_level: float | None = None  # running mean of scratch task rewards
        self._lanpo_failing: dict[str, bool] = {}  # problem id -> no scratch rollout was right
        self._lanpo_lessons = LessonsShown()
        self._lanpo_alarms = _alarms(args, alarms)
        self._lanpo_canary = self._lanpo_new_canary() if memory is None else None
        check_saving(args)
        for callback in (StageTimes(self), Boundaries(self), Watching(self)):
            self.add_callback(callback)
        if args.push_to_hub:
            _log.warning(
                "push_to_hub uploads %s with all that is in it, put-aside rows and the pool, if it "
                "lies there, included",
                args.output_dir,
            )
        if args.outcome_gated:
            _log.info("guidance is outcome-gated (%s): it is not reward-agnostic", args.gate)

    @property
    def policy(self) -> PolicyModel:
        """The policy as a chat model; its ledger counts what it was asked besides its rollouts."""
        return self._lanpo_policy

    @property
    def summary_model(self) -> ChatModel:
        """Who writes the summaries: the policy, or a frozen copy of it."""
        return self._lanpo_writer

    @property
    def memory(self) -> ExperienceAdapter:
        """The memory, on the process that holds it."""
        if self._lanpo_memory is None:
            raise ConfigError("the memory lives on the main process only")
        return self._lanpo_memory

    def _lanpo_count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _lanpo_check_groups(self) -> None:
        rows = self.args.per_device_train_batch_size * self.args.steps_per_generation
        if self.args.samples_in_turns and rows % self.num_generations:
            raise ConfigError(
                f"gate {self.args.gate!r} samples each group in two turns and needs whole groups "
                f"on each process: per_device_train_batch_size x steps_per_generation is {rows}; "
                f"make it a multiple of num_generations ({self.num_generations})"
            )

    def _lanpo_new_canary(self) -> Canary | None:
        args = self.args
        wanted = args.alarms and args.canary_every and args.summarizer_weights == "current"
        summarizer = build_summarizer(args, prompts=self._lanpo_prompts)
        if not wanted or summarizer is None or args.summarizer != "llm":
            return None
        return Canary(summarizer, every=args.canary_every)

    # ------------------------------------------------------------------ 1. around the rollouts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            rows = [{**row, **self._lanpo_unguided()} for row in inputs]
            return super()._generate_and_score_completions(rows)  # type: ignore[no-any-return]
        with self._lanpo_clock("other"):
            plan = self._lanpo_guide(inputs)
            self._lanpo_plan = plan
            try:
                batch = super()._generate_and_score_completions(plan.rows)
            finally:
                self._lanpo_plan = None
            outcome = self._lanpo_outcome
            assert outcome is not None  # set by _calculate_rewards
            rollouts = self._lanpo_rollouts(
                plan, gathered(outcome.texts_n), outcome.task_N.tolist()
            )
            observation = self._lanpo_tell(plan, rollouts)
            self._lanpo_weigh(batch, plan, outcome)
            self._lanpo_measure(plan, outcome, rollouts, observation)
        return batch  # type: ignore[no-any-return]

    def _lanpo_guide(self, inputs: list[dict[str, Any]]) -> Plan:
        """Ask the memory once per group and put its guidance into (part of) the group's prompts."""
        group, step, n = self.num_generations, int(self.state.global_step), len(inputs)
        check_images(self.args, inputs[0])
        if self._lanpo_seen is not None:  # streamed rows can only be looked at as they pass
            self._lanpo_seen.check(inputs, f"step {step}")
        problems_P = gathered(_problems_of(inputs))[::group]
        self._lanpo_measure_prompts(inputs, problems_P)
        plan = Plan(
            step=step,
            rows=[{**row, **self._lanpo_unguided()} for row in inputs],
            bare=[row["prompt"] for row in inputs],
            problems_P=problems_P,
            group=group,
            scratch=group - self.args.guided_per_group,
            first=self.accelerator.process_index * n,
            in_turns=self.args.samples_in_turns,
        )
        if not plan.in_turns:
            with self._lanpo_clock("retrieve"):
                wanted = [self._lanpo_wanted(problem) for problem in problems_P]
                plan.guide(
                    from_main(
                        self.accelerator,
                        lambda: self.memory.prepare(problems_P, step=step, wanted=wanted),
                    )
                )
        return plan

    def _lanpo_unguided(self) -> dict[str, str]:
        """What rows of ours have more than TRL's, where any rollout can be guided at all."""
        return {"lanpo_guidance": "none"} if self.args.guides else {}

    def _lanpo_wanted(self, problem: Problem) -> bool | None:
        """`None` leaves it to the coin; a shared group goes by the problem's last scratch group."""
        if self.args.gate == "when_failing" and not self._lanpo_failing.get(problem.id, True):
            return False
        return None

    def _lanpo_measure_prompts(self, inputs: Sequence[Any], problems_P: Sequence[Problem]) -> None:
        """How long bare prompts are, for the budget of prompt and guidance together."""
        if self.args.max_prompt_tokens is None:
            return
        group = self.num_generations
        with swapped(self, {"environment_factories": None}):  # none has been reset yet
            ids = self._tokenize_prompts([row["prompt"] for row in inputs])[0]
        lengths_P = gathered([len(row) for row in ids])[::group]
        self._lanpo_prompt_tokens = {
            problem.id: length for problem, length in zip(problems_P, lengths_P, strict=True)
        }

    def _lanpo_tell(self, plan: Plan, rollouts: list[Rollout]) -> Observation:
        """Report the rollouts; the policy answers what the memory asks."""
        with self._lanpo_clock("summarise"):
            requests = from_main(
                self.accelerator, lambda: self.memory.ask(rollouts, step=plan.step)
            )
            found = answer(self._lanpo_writer, requests, temperature=self.temperature)
            self._lanpo_summary_tokens = _tokens_of(found.answers)
            self._lanpo_ask_canary(plan, rollouts)
        with self._lanpo_clock("persist"):
            observation = from_main(
                self.accelerator,
                lambda: self.memory.ingest(rollouts, found.answers, step=plan.step),
            )
        if found.ended is not None:
            raise found.ended
        return observation

    def _lanpo_ask_canary(self, plan: Plan, rollouts: list[Rollout]) -> None:
        """Have the same old rollouts summarised again, and see what has become of the summaries."""
        canary, self._lanpo_canary_tokens = self._lanpo_canary, 0
        if canary is None:
            return
        canary.offer(rollouts)
        requests: list[Request] = canary.ask(plan.step)
        if not requests:
            return
        found = answer(self._lanpo_policy, requests, temperature=0.0)
        self._lanpo_canary_tokens = sum(_tokens_of(found.answers))
        self._lanpo_metric("canary_tokens", float(self._lanpo_canary_tokens))
        for name, value in canary.read(found.answers).items():
            self._lanpo_metric(name, value)

    def _lanpo_rollouts(
        self, plan: Plan, texts_N: Sequence[str], rewards_N: Sequence[float]
    ) -> list[Rollout]:
        rollouts = []
        rows = zip(texts_N, rewards_N, plan.guidance_N, strict=True)
        for i, (text, reward, guidance) in enumerate(rows):
            p = i // plan.group
            scored = reward == reward  # NaN: no reward function had anything to say
            rollouts.append(
                Rollout._made(  # of what was checked: hundreds a step
                    problem=plan.problems_P[p],
                    completion=storable(text),
                    reward=reward if scored else None,
                    correct=reward > self.args.correct_above if scored else None,
                    step=plan.step,
                    policy="",
                    group=f"{plan.step}:{p}",
                    guidance=guidance if guidance else None,
                )
            )
        return rollouts

    # ------------------------------------------------------------------ 3. rewards

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        plan, given = self._lanpo_plan, (inputs, prompts, completions, completion_ids_list)
        if plan is None or not self.model.training:
            self._lanpo_fill_table(["none"] * len(prompts), [""] * len(prompts))
            return self._lanpo_without_lone_bonus(super()._calculate_rewards(*given))
        with self._lanpo_clock("reward"):
            if plan.scores is None:
                rewards: Tensor = super()._calculate_rewards(*given)
            else:
                then = plan.turns()[1]
                late = super()._calculate_rewards(*([part[i] for i in then] for part in given))
                rewards = plan.world(plan.scores, late)
                for name, values in self._pending_extra_logs.items():
                    if len(values) == len(prompts):
                        early = values[: len(prompts) - len(then)]
                        ordered = plan.in_order(early, values[len(early) :])
                        self._pending_extra_logs[name] = ordered
        rewards = self._lanpo_without_lone_bonus(rewards)
        total_N, task_N = self._lanpo_scored(rewards)
        texts = [completion_text(c) for c in completions]
        self._lanpo_outcome = Outcome(total_N=total_N, task_N=task_N, texts_n=texts)
        shown = [" ".join(g.experience_ids) for g in plan.guidance_N[plan.own]]
        self._lanpo_fill_table(list(plan.kinds_n), shown)
        return rewards

    def _lanpo_fill_table(self, kinds_n: list[Any], shown_n: list[str]) -> None:
        """Columns of TRL's table of completions: what kind of guidance, made of which entries."""
        self._log_completion_extra("guidance", kinds_n)
        self._log_completion_extra("experiences", shown_n)

    def _lanpo_without_lone_bonus(self, rewards: Tensor) -> Tensor:
        """A format bonus alone is no score: rows nobody scored stay unscored for TRL, too."""
        if self._lanpo_bonus:
            unscored = _unscored(rewards, self._lanpo_bonus)
            for column in self._lanpo_bonus:
                rewards[unscored, column] = torch.nan
        return rewards

    def _lanpo_scored(self, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Total and task reward of every row; NaN where nobody scored it."""
        weights = self.reward_weights.to(rewards.device)
        task = weights.clone()
        task[self._lanpo_bonus] = 0.0
        unscored = _unscored(rewards, self._lanpo_bonus)
        total_N = (rewards * weights).nansum(1).masked_fill(unscored, torch.nan).cpu()
        return total_N, (rewards * task).nansum(1).masked_fill(unscored, torch.nan).cpu()


def _made_on_the_way(dataset: Any) -> bool:
    """Whether rows can only be looked at as they pass: streamed ones, and those of a transform."""
    form = getattr(dataset, "format", None)
    return not hasattr(dataset, "__len__") or (
        isinstance(form, dict) and form.get("type") == "custom"
    )


def _alarms(args: LanpoConfig, given: Alarms | None) -> Alarms | None:
    if not args.alarms:
        return None
    # Alarms are driven by what is logged; as a share of all steps, the number is not known yet.
    every = int(args.logging_steps) if args.logging_steps >= 1 else 10
    clip = args.max_grad_norm or 1.0
    return default_alarms(every=every, max_grad_norm=clip) if given is None else given


def _problems_of(rows: Sequence[dict[str, Any]]) -> list[Problem]:
    """The problem of each row; rows of a group, which stand side by side, share theirs."""
    found: list[Problem] = []
    for i, row in enumerate(rows):
        same = i > 0 and all(row.get(c) == rows[i - 1].get(c) for c in _OF_A_PROBLEM)
        found.append(found[-1] if same else problem_of(row))
    return found


def _has_adapters(model: Any, given: dict[str, Any]) -> bool:
    return given.get("peft_config") is not None or hasattr(model, "disable_adapter")


def _has_sections(prompts: Prompts, mode: str) -> bool:
    kinds = ("inter", "intra") if mode == "both" else (mode,)
    return any(prompts.sections(kind) for kind in kinds)  # type: ignore[arg-type]


def _tokens_of(answers: Sequence[Completion | Failure]) -> tuple[int, int]:
    """Tokens in and out."""
    said = [one for one in answers if isinstance(one, Completion)]
    return sum(one.prompt_tokens for one in said), sum(one.completion_tokens for one in said)


def _unscored(rewards: Tensor, bonus: list[int]) -> Tensor:
    """Rows for which every task reward is missing (the format bonus alone is no score)."""
    keep = [i for i in range(rewards.shape[1]) if i not in bonus]
    return torch.isnan(rewards[:, keep]).all(1)
