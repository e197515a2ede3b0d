"""Ask a model: every problem, in every mode, as many times as wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from lanpo_memory.errors import ConfigError, InvalidInputError, positive
from lanpo_memory.filters import is_template_of
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.models import TransformersModel
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.protocols import ChatModel, SolvePrompts
from lanpo_memory.solving import MODES, Solver
from lanpo_memory.types import (
    Completion,
    Failure,
    Messages,
    Problem,
    Solution,
    SolveMode,
    fingerprint,
)
from lanpo_rl.evaluation.samples import Key, Sample, key_of

__all__ = ["Evaluator", "SeededModels", "check_plan"]


class SeededModels:
    """A local model, once for each sample number: the same seed and number draw the same text.

    What is drawn depends on seed, number and conversation alone: neither on what was asked before
    nor on the batch. So a run that was stopped goes on as if it had not been, and in two modes that
    begin with the same prompt the first answers are the same.

    Args:
        model: see `TransformersModel`, like the further arguments.
        tokenizer: see there.
        name: see there.
        ledger: of all samples together.
        batch_size: see there.
        seed: of all sampling.

    >>> from lanpo_rl.tiny import load_policy, load_tokenizer
    >>> models = SeededModels(load_policy(), load_tokenizer(), seed=1)
    >>> ask = [{"role": "user", "content": "bako bako bako 8_6"}]
    >>> draw = lambda number: models(number).generate([ask], max_tokens=16, temperature=1.0)[0].text
    >>> draw(0) == draw(0), draw(0) == draw(1)
    (True, False)
    """

    def __init__(
        self,
        model: str | Path | Any,
        tokenizer: Any | None = None,
        *,
        name: str | None = None,
        ledger: Ledger | None = None,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        from lanpo_memory.models.transformers_loading import check_installed, load

        check_installed()
        self.ledger = Ledger() if ledger is None else ledger
        self._loaded = load(model, tokenizer, name=name, device=None, dtype=None)
        self._batch_size, self._seed = batch_size, seed

    @property
    def fingerprint(self) -> str:
        """See `TransformersModel.fingerprint`."""
        return self(0).fingerprint

    def __call__(self, number: int) -> TransformersModel:
        """Return the model that draws sample `number` of each problem."""
        network, tokenizer, name = self._loaded
        return TransformersModel(
            network,
            tokenizer,
            name=name,
            ledger=self.ledger,
            batch_size=self._batch_size,
            seed=int(fingerprint(str(self._seed), str(number)), 16),
        )


class _Watched:
    """A chat model that remembers what a solution does not say: answers cut, and calls failed."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self._cut: set[str] = set()
        self._failed: set[str] = set()

    @property
    def ledger(self) -> Ledger:
        return self._model.ledger

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        answers = self._model.generate(
            conversations, max_tokens=max_tokens, temperature=temperature, stop=stop, role=role
        )
        for asked, answer in zip(conversations, answers, strict=True):
            if isinstance(answer, Failure):
                if not answer.answered:
                    self._failed.add(json.dumps(asked))
            elif answer.truncated:
                self._cut.add(json.dumps(asked))
        return answers

    def cut(self, solution: Solution) -> bool:
        """Whether any of its texts was cut at the token limit."""
        return any(json.dumps(turn.conversation) in self._cut for turn in solution.turns)

    def unusable(self, solution: Solution) -> bool:
        """Whether its last answer, behind which nothing is asked, came and was of no use."""
        last = solution.turns[-1]
        return bool(last.failure) and json.dumps(last.conversation) not in self._failed


class _Unchanged:
    """A pool as it was: one that others write to would be another one from batch to batch."""

    def __init__(self, pool: ExperiencePool) -> None:
        self._pool = pool
        self._head = self._now()
        self.digest = pool.digest()

    def check(self) -> None:
        head = self._now()
        if head == self._head:
            return
        if self._pool.digest() != self.digest:
            raise ConfigError(
                "the pool was written to while it was evaluated, so the last answers were not "
                "kept. Evaluate a copy: `lanpo pool export` and `lanpo pool restore` make one"
            )
        self._head = head  # another namespace of the same file

    def _now(self) -> int:
        return self._pool.store.changes(0, limit=0).head


class Evaluator:
    r"""Asks a model about problems, in the modes of `Solver`, several times each.

    It is given problems, which have no answers: those are for `evaluate_samples` alone. The first
    sample of every problem comes first, in all modes, then the second: a run that ends early has
    compared what it has.

    Args:
        model: answers the problems.
        modes: see `Solver.solve`.
        samples: how many answers to each problem in each mode (k).
        temperature: above 0 for more than one sample: greedy answers are all the same.
        guide: finds the experiences; the modes with retrieval need one.
        prompts: how a problem is put and an answer read; by default the guide's, else English.
        max_tokens: most tokens of one answer.
        rounds: most reflections on an answer.
        batch: how many problems advance together.
        reseed: returns the model that draws sample number i, such as `SeededModels`; by default
            `model` draws all.

    Raises:
        ConfigError: a setting out of range, an unknown mode, or no guide where one is needed.

    >>> from lanpo_memory.testing import ScriptedChatModel
    >>> evaluator = Evaluator(ScriptedChatModel(r"\boxed{5}"))
    >>> [sample] = next(evaluator.run([Problem(text="2 + 3?")]))
    >>> sample.solution.answer, sample.number
    ('5', 0)
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        modes: Sequence[SolveMode] = ("zero_shot",),
        samples: int = 1,
        temperature: float = 0.0,
        guide: Guide | None = None,
        prompts: SolvePrompts | None = None,
        max_tokens: int = 2048,
        rounds: int = 1,
        batch: int = 64,
        reseed: Callable[[int], ChatModel] | None = None,
    ) -> None:
        check_plan(modes, samples, temperature, pool=guide is not None)
        self.modes, self.samples = tuple(modes), samples
        self.temperature, self.max_tokens, self.rounds = temperature, max_tokens, rounds
        self.guide, self._batch, self._given = guide, batch, prompts
        self._pool = None if guide is None else _Unchanged(guide.pool)
        self._reseed = (lambda _: model) if reseed is None else reseed
        self.prompts = self._solver(model).prompts  # here, so that wrong settings are said at once

    @property
    def pool_digest(self) -> str:
        """The content of the pool, which has to stay what it was; empty without one."""
        return "" if self._pool is None else self._pool.digest

    def run(
        self, problems: Sequence[Problem], *, finished: Collection[Key] = ()
    ) -> Iterator[list[Sample]]:
        """Yield samples a batch at a time, each as soon as it is there.

        Failed samples are among them: whoever keeps samples leaves those out.

        Args:
            problems: no two of them the same.
            finished: keys of samples that are not to be asked again.

        Raises:
            InvalidInputError: a problem stands there twice.
            BudgetExceeded: the next call could cross a budget. What was yielded stays.
            ConfigError: somebody wrote to the pool in the meantime.
        """
        ids = {problem.id for problem in problems}
        if len(ids) < len(problems):
            raise InvalidInputError("a problem stands there twice; give each of them once")
        return self._run(problems, finished)

    def _run(
        self, problems: Sequence[Problem], finished: Collection[Key]
    ) -> Iterator[list[Sample]]:
        for number in range(self.samples):
            for mode in self.modes:
                todo = [p for p in problems if key_of(p, mode, number) not in finished]
                if todo:
                    watched = _Watched(self._reseed(number))
                    for done in self._solver(watched).batches(todo, mode=mode):
                        if self._pool is not None and "retrieval" in mode:
                            self._pool.check()
                        yield self._samples(done, number, watched)

    def _solver(self, model: ChatModel) -> Solver:
        return Solver(
            model,
            guide=self.guide,
            prompts=self._given,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            rounds=self.rounds,
            batch=self._batch,
        )

    def _samples(
        self, solutions: Sequence[Solution], number: int, watched: _Watched
    ) -> list[Sample]:
        shown = self._problems_shown(solutions)
        return [
            Sample(
                solution=solution,
                number=number,
                truncated=watched.cut(solution),
                unusable=watched.unusable(solution),
                template=any(
                    is_template_of(solution.problem, shown[id_])
                    for id_ in _experience_ids(solution)
                    if id_ in shown
                ),
            )
            for solution in solutions
        ]

    def _problems_shown(self, solutions: Sequence[Solution]) -> dict[str, Problem]:
        """The problems that the experiences shown come from, by experience id."""
        ids = list(dict.fromkeys(i for each in solutions for i in _experience_ids(each)))
        if self.guide is None or not ids:
            return {}
        return {e.id: e.problem for e in self.guide.pool.get(ids) if e is not None}


def _experience_ids(solution: Solution) -> list[str]:
    return [id_ for turn in solution.turns for id_ in turn.guidance.experience_ids]


def check_plan(modes: Sequence[SolveMode], samples: int, temperature: float, *, pool: bool) -> None:
    """Refuse modes and numbers of samples that make no sense, before anything is loaded.

    Raises:
        ConfigError: an unknown mode, one that needs a pool where there is none, or samples that
            would all be the same.
    """
    if isinstance(modes, str) or not modes:
        raise ConfigError(f"modes has to be a list of some of {', '.join(MODES)}")
    for mode in modes:
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
        if not pool and "retrieval" in mode:
            raise ConfigError(
                f"mode {mode} needs a pool to retrieve from; give one, or leave it out"
            )
    if len(set(modes)) < len(modes):
        raise ConfigError(f"a mode is named twice: {', '.join(modes)}")
    positive("samples", samples)
    if samples > 1 and not 0.0 < temperature < math.inf:
        raise ConfigError(
            f"{samples} samples of a problem need a temperature above 0, got {temperature}: greedy "
            "answers are all the same"
        )
