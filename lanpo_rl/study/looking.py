"""What a policy can do at some moment of its training, and in every inference mode at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Attempt, SolveMode
from lanpo_rl.config import LanpoConfig
from lanpo_rl.evaluation import Evaluator, SeededModels, evaluate, evaluate_samples
from lanpo_rl.evaluation.results import ModeResults
from lanpo_rl.rewards import as_reward
from lanpo_rl.study.results import ModeFigures, Point
from lanpo_rl.study.subjects import Subject
from lanpo_rl.tasks import Example, Task
from lanpo_rl.tiny import generate_texts

__all__ = ["Look", "guide_of"]

_MODES: tuple[SolveMode, ...] = get_args(SolveMode)
_WITHOUT_POOL: Mapping[SolveMode, SolveMode] = {
    "retrieval": "zero_shot",
    "retrieval+self_correct": "self_correct",
}
_EVALUATION_SEED = 7_000_000  # far from the seeds of runs, whose samples are others


def guide_of(pool: ExperiencePool, task: Task, config: LanpoConfig) -> Guide:
    """Return the guide of an inference: it retrieves with the settings of training.

    So it sorts by utility where training learned it. It knows nothing of controls.
    """
    return Guide(
        pool,
        prompts=task.prompts,
        gamma=config.gamma,
        weight=config.retrieval_weight,  # type: ignore[arg-type]
        experiences=config.experiences_per_prompt,
        shortlist=config.shortlist,
    )


class Look:
    """Looks at a policy from outside.

    Args:
        model: as it is at the time of the call.
        tokenizer: of the model.
        task: whose held-out and shifted problems are asked.
        subject: says which modes the curve follows; at the end all are asked.
        guide: finds experiences.
    """

    def __init__(
        self, model: Any, tokenizer: Any, task: Task, subject: Subject, guide: Guide
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._task, self._subject, self._guide = task, subject, guide

    def point(self, *, step: int, tokens: int, summary_tokens: int, seconds: float) -> Point:
        """Evaluate greedily on the held-out problems."""
        measure = partial(
            evaluate,
            self._model,
            self._tokenizer,
            self._task.held_out,
            prompts=self._task.prompts,
            score=self._task.reward,
            max_new_tokens=self._subject.answer_tokens,
        )
        bare = measure()
        helped = measure(guide=self._guide) if "retrieval" in self._subject.modes else bare
        checks = "self_correct" in self._subject.modes
        return Point(
            step=step,
            tokens=tokens,
            seconds=seconds,
            zero_shot=bare.accuracy,
            with_memory=helped.accuracy,
            guided=helped.guided,
            right_family=helped.right_family,
            self_corrected=self._self_corrected(bare.texts) if checks else None,
            summary_tokens=summary_tokens,
        )

    def _self_corrected(self, tried: Sequence[str]) -> float:
        """Accuracy of the answers after the policy has looked at what it tried."""
        examples, prompts = self._task.held_out, self._task.prompts
        attempts = [
            Attempt(problem=example.problem, text=text or " ")
            for example, text in zip(examples, tried, strict=True)
        ]
        guided = [
            guidance.apply(prompts.solve(attempt.problem))
            for guidance, attempt in zip(self._guide.intra(attempts), attempts, strict=True)
        ]
        checks = generate_texts(
            self._model, self._tokenizer, guided, max_new_tokens=self._subject.answer_tokens
        )
        texts = [prompts.solution("intra", text) or "" for text in checks]
        scores = [self._task.reward(t, e.answer) for t, e in zip(texts, examples, strict=True)]
        return sum(scores) / len(scores)

    def final(self, seed: int) -> dict[str, dict[str, ModeFigures]]:
        """Sample every mode on the held-out and on the shifted problems."""
        splits = {"held_out": self._task.held_out, "shifted": self._task.shifted}
        return {
            name: self._modes(examples[: self._subject.problems], seed)
            for name, examples in splits.items()
            if examples
        }

    def _modes(self, examples: Sequence[Example], seed: int) -> dict[str, ModeFigures]:
        # An empty pool shows nothing: the very same samples need not be drawn again.
        asked = (
            _MODES if len(self._guide.pool) else tuple(m for m in _MODES if m not in _WITHOUT_POOL)
        )
        models = SeededModels(
            self._model,
            self._tokenizer,
            name="policy",
            batch_size=self._subject.batch,
            seed=_EVALUATION_SEED + seed,
        )
        evaluator = Evaluator(
            models(0),
            modes=asked,
            samples=self._subject.samples,
            temperature=1.0,
            guide=self._guide,
            prompts=self._task.prompts,
            max_tokens=self._subject.answer_tokens,
            batch=self._subject.batch,
            reseed=models,
        )
        problems = [example.problem for example in examples]
        results = evaluate_samples(
            (sample for batch in evaluator.run(problems) for sample in batch),
            examples,
            score=as_reward(self._task.reward),
            prompts=self._task.prompts,
            modes=asked,
            k=self._subject.samples,
        )
        k = self._subject.samples
        found = {mode: _figures(results.mode(mode), len(examples), k) for mode in asked}
        return {mode: found[mode if mode in found else _WITHOUT_POOL[mode]] for mode in _MODES}


def _figures(found: ModeResults, problems: int, k: int) -> ModeFigures:
    count = found.samples or 1
    return ModeFigures(
        mean=found.accuracy.value,
        pass_at={j: f.value for j, f in found.pass_at.items() if f.value is not None},
        problems=problems,
        samples=k,
        guided=found.guided,
        right_to_wrong=found.right_to_wrong / count,
        wrong_to_right=found.wrong_to_right / count,
        missing=found.missing,
    )
