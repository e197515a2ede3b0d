"""Sampling in two turns: scratch rollouts first, then those whose guidance depends on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lanpo_memory.types import Attempt, Guidance, Problem
from lanpo_rl.collective import from_main, gathered
from lanpo_rl.gates import failing, fresh_attempts, reflects_anyway
from lanpo_rl.hooks.base import Hooked
from lanpo_rl.plans import Plan
from lanpo_rl.rewards import completion_text
from lanpo_rl.swapping import swapped

__all__ = ["SamplesInTurns"]


class SamplesInTurns(Hooked):
    """Where a gate looks at outcomes, samples and scores the scratch part of each group first.

    TRL samples a batch in one call of `_generate`. Here that call becomes two; what comes back is
    in the order of the rows, as if it had been one.
    """

    def _generate(self, prompts: list[Any]) -> Any:
        plan = self._lanpo_plan
        if plan is None or not plan.in_turns or not self.model.training:
            with self._lanpo_clock("generate"):
                found = super()._generate(prompts)
            self._lanpo_note_lengths(found[1])
            return found
        first, then = plan.turns()
        logged: list[dict[str, list[float]]] = []
        early = self._lanpo_turn([prompts[i] for i in first], logged)
        self._lanpo_guide_the_rest(plan, prompts, early)
        for i in then:
            prompts[i] = plan.rows[i]["prompt"]  # TRL's own list: rewards and logs see it too
        late = self._lanpo_turn([prompts[i] for i in then], logged)
        self._lanpo_log_turns(logged, (len(first), len(then)))
        merged = tuple(
            plan.in_order(a, b) if isinstance(a, list) and len(a) == len(first) else a
            for a, b in zip(early, late, strict=True)
        )
        self._lanpo_note_lengths(merged[1])
        return merged

    def _lanpo_note_lengths(self, completion_ids: Sequence[Sequence[int]]) -> None:
        """Here, for a mask may leave out what was cut later."""
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        self._lanpo_lengths_n = [(len(ids), ids[-1] not in ends) for ids in completion_ids]

    def _lanpo_turn(self, prompts: list[Any], logged: list[dict[str, list[float]]]) -> Any:
        """Sample part of the batch; TRL's metrics of it are kept for later."""
        aside: dict[str, dict[str, list[float]]] = {
            "train": defaultdict(list),
            "eval": defaultdict(list),
        }
        with self._lanpo_clock("generate"), swapped(self, {"_metrics": aside}):
            found = super()._generate(prompts)
        logged.append(aside["train"])
        return found

    def _lanpo_log_turns(
        self, logged: Sequence[dict[str, list[float]]], rows: tuple[int, int]
    ) -> None:
        """What TRL would have logged of both turns as one: means are weighted by rows."""
        for name in logged[-1]:
            values = [turn[name][-1] for turn in logged]
            if name == "num_tokens":
                self._metrics["train"][name] = [values[-1]]
                continue
            kind = name.rpartition("/")[2]
            if kind.startswith(("min", "max")):
                values = [v for v in values if v] or values  # 0: nothing ended by itself
                value = min(values) if kind.startswith("min") else max(values)
            elif "terminated" in kind:
                ended = [v for v in values if v] or [0.0]
                value = sum(ended) / len(ended)
            else:
                value = sum(v * n for v, n in zip(values, rows, strict=True)) / sum(rows)
            self._metrics["train"][name].append(value)

    def _lanpo_guide_the_rest(self, plan: Plan, prompts: list[Any], early: Any) -> None:
        """Score the scratch part of each group and decide what guides the other part."""
        first, _ = plan.turns()
        ids, completions = early[1], early[3]
        with self._lanpo_clock("reward"):
            plan.scores = super()._calculate_rewards(
                [plan.rows[i] for i in first], [prompts[i] for i in first], completions, ids
            )
        task = self._lanpo_scored(plan.scores)[1]
        task_PS = task.view(len(plan.problems_P), plan.scratch)
        texts_N = gathered([completion_text(c) for c in completions])
        closed = failing(task_PS, correct_above=self.args.correct_above)
        with self._lanpo_clock("retrieve"):
            if self.args.gate == "when_failing":
                plan.guide(self._lanpo_prepare(plan, [f is True for f in closed]))
            else:
                self._lanpo_reflect(plan, closed, texts_N)

    def _lanpo_prepare(self, plan: Plan, opened_P: Sequence[bool]) -> list[Guidance]:
        wanted = [None if opened else False for opened in opened_P]
        return from_main(
            self.accelerator,
            lambda: self.memory.prepare(plan.problems_P, step=plan.step, wanted=wanted),
        )

    def _lanpo_reflect(
        self, plan: Plan, closed: Sequence[bool | None], texts_N: Sequence[str]
    ) -> None:
        """Gate all_wrong: every guided rollout looks at a scratch rollout of its own group."""
        args, count = self.args, plan.group - plan.scratch
        problems: list[Problem] = []
        wanted: list[bool | None] = []
        found: list[tuple[Attempt, int] | None] = []
        for p, problem in enumerate(plan.problems_P):
            anyway = closed[p] is False and reflects_anyway(
                problem, step=plan.step, seed=args.seed, share=args.reflect_on_right
            )
            texts_S = texts_N[p * plan.scratch : (p + 1) * plan.scratch]
            problems += [problem] * count
            wanted += [None if closed[p] or anyway else False] * count
            found += fresh_attempts(problem, texts_S, count=count, step=plan.step)
        attempts = [None if each is None else each[0] for each in found]
        guidance = from_main(
            self.accelerator,
            lambda: self.memory.prepare(problems, step=plan.step, wanted=wanted, attempts=attempts),
        )
        plan.guide([guidance[i : i + count] for i in range(0, len(guidance), count)])
        for i, (each, given) in enumerate(zip(found, guidance, strict=True)):
            if each is not None and given.kind == "intra":
                p, g = divmod(i, count)
                row = p * plan.group
                plan.looked_at[row + plan.scratch + g] = row + each[1]
