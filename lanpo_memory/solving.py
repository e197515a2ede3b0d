"""Solving at test time: bare, with memory, with self-correction, or both. The pool is only read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard, get_args

from lanpo_memory.errors import BudgetExceeded, ConfigError, InvalidInputError, positive
from lanpo_memory.guide import Guide, uniform
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ChatModel, Prompts, SolvePrompts
from lanpo_memory.turns import answered_turn, read_turn, solving_part, usage_by_role
from lanpo_memory.types import (
    Attempt,
    Completion,
    Guidance,
    Problem,
    Solution,
    SolveMode,
    Turn,
)

__all__ = ["MODES", "Solver"]

MODES: tuple[SolveMode, ...] = get_args(SolveMode)
"""What `Solver.solve` can do."""


@dataclass
class _Work:
    """One problem on its way. `cut`: the last text ended at `max_tokens`."""

    problem: Problem
    turns: list[Turn] = field(default_factory=list)
    cut: bool = False

    @property
    def settled(self) -> bool:
        """No model can look at it again: the last call failed, or it concluded ``Correct``."""
        return bool(self.turns[-1].failure) or self.turns[-1].verdict is True


class Solver:
    r"""Solves problems with a model and what a pool has learned.

    The problems of a batch advance together: one call of the model for each turn. In the first
    turn a problem stands alone or, in the modes with retrieval, behind the best experiences that
    pass the guide's filters; where none passes it stands alone, and the trace shows it. The modes
    with self-correction then put each answer in front of its problem again, `rounds` times. They
    do so for every answer: no reward, verdict or reference answer is known here. A reflection that
    concludes ``Correct`` ends it for its problem.

    The answer is that of the last turn which gave one. A call that fails leaves its problem with
    what it had. Costs are booked by role: ``solve`` for the first turn, ``reflect`` for the others.
    What a judge or a critic inside the guide spends is in its own model's ledger.

    No record of the pool is written, no exposure booked: `rollout_of` and
    `ExperienceAdapter.observe` do that, once somebody knows the outcome.

    Args:
        model: answers the problems.
        pool: where experiences come from; the modes with retrieval need it.
        guide: how they are chosen and shown, and how an answer is reflected on. By default one
            made from `pool` and `prompts`; in place of a pool it brings its own.
        prompts: how a problem is put, and how an answer is read. By default the guide's, else
            English with the final answer in ``\boxed{}``.
        max_tokens: most tokens of one answer.
        temperature: of every turn.
        rounds: most reflections on a problem.
        explore: share of the problems, in 0..1, which the modes with retrieval solve without
            experiences, so that what memory brings can be measured. A coin made from seed and
            problem id decides: `explores` tells how it falls.
        seed: of that coin.
        batch: how many problems advance together.

    Raises:
        ConfigError: a setting out of range, or a guide with another pool or unfit prompts.

    Source: inference modes, arXiv 2510.16552 §4; the last mode is not reported there.

    >>> from lanpo_memory.testing import ScriptedChatModel
    >>> solver = Solver(ScriptedChatModel(r"Counting on: \boxed{5}"))
    >>> solver.solve([Problem(text="2 + 3?")], mode="zero_shot")[0].answer
    '5'
    """

    def __init__(
        self,
        model: ChatModel,
        pool: ExperiencePool | None = None,
        *,
        guide: Guide | None = None,
        prompts: SolvePrompts | None = None,
        max_tokens: int = 2048,
        temperature: float = 0.0,
        rounds: int = 1,
        explore: float | None = None,
        seed: int = 0,
        batch: int = 64,
    ) -> None:
        for name, number in (("max_tokens", max_tokens), ("rounds", rounds), ("batch", batch)):
            positive(name, number)
        if not 0.0 <= temperature < math.inf:
            raise ConfigError(f"temperature must be 0 or more, got {temperature}")
        if explore is not None and not 0.0 <= explore <= 1.0:
            raise ConfigError(f"explore must lie between 0 and 1, got {explore}")
        if not callable(getattr(model, "generate", None)):
            raise ConfigError(
                f"a solver needs a model, got {model!r:.60}; give an object, such as "
                "LiteLLMModel(name)"
            )
        if guide is not None and pool is not None and guide.pool is not pool:
            raise ConfigError("guide and pool are two pools; give one of them, or the same")
        self.model = model
        self.prompts = _prompts_of(guide) if prompts is None else prompts
        self.pool = pool if guide is None else guide.pool
        if guide is None:  # reflection asks a guide but no pool: an empty one stands in
            guide = Guide(ExperiencePool() if pool is None else pool, prompts=self.prompts)
        self.guide = guide
        self.max_tokens, self.temperature, self.rounds = max_tokens, temperature, rounds
        self.explore, self.seed, self.batch = explore, seed, batch

    def solve(
        self, problems: Sequence[Problem], *, mode: SolveMode = "retrieval"
    ) -> list[Solution]:
        """Return one solution for each problem, in order.

        Raises:
            ConfigError: an unknown mode, or one with retrieval and there is no pool.
            InvalidInputError: something that is no problem.
            BudgetExceeded: the next call could cross a budget. Nothing is returned then, not even
                what was paid for: take `batches` to keep it.
        """
        return [solution for batch in self.batches(problems, mode=mode) for solution in batch]

    def batches(
        self, problems: Sequence[Problem], *, mode: SolveMode = "retrieval"
    ) -> Iterator[list[Solution]]:
        """Yield the solutions of `solve` a batch at a time, each as soon as it is there.

        An error ends it and takes no batch away that was yielded. Settings are checked at once.
        Where a budget is too small for a batch, smaller ones are tried, down to a single problem;
        one that ends between two turns takes the turns before it along.

        Raises:
            ConfigError, InvalidInputError, BudgetExceeded: as `solve`.
        """
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
        if self.pool is None and "retrieval" in mode:
            raise ConfigError(
                f"mode {mode!r} needs a pool: give Solver(pool=...), or solve with 'zero_shot' or "
                "'self_correct'"
            )
        _check_problems(problems)
        return self._batches(problems, mode)

    def _batches(self, problems: Sequence[Problem], mode: SolveMode) -> Iterator[list[Solution]]:
        start, size = 0, self.batch
        while start < len(problems):
            calls = self.model.ledger.total.calls
            try:
                yield self._solve(problems[start : start + size], mode)
            except BudgetExceeded:
                if size == 1 or self.model.ledger.total.calls > calls:
                    raise
                size //= 2  # the first turn was refused as a whole: try for fewer
            else:
                start += size

    def explores(self, problem: Problem) -> bool:
        """Whether the coin of `explore` has this problem solved without experiences."""
        coin = uniform(self.seed, problem.id, "explore")
        return self.explore is not None and coin < self.explore

    # ------------------------------------------------------------------ turns

    def _solve(self, problems: Sequence[Problem], mode: SolveMode) -> list[Solution]:
        works = [_Work(problem) for problem in problems]
        self._ask(works, self._experiences(problems, mode), role="solve")
        if "self_correct" in mode:
            open_ = works
            for _ in range(self.rounds):
                open_ = self._reflect([work for work in open_ if not work.settled])
        return [self._solution(work, mode) for work in works]

    def _experiences(self, problems: Sequence[Problem], mode: SolveMode) -> list[Guidance]:
        """Guidance for the first turn; the empty one where none is wanted or none passes."""
        if "retrieval" not in mode:
            return [Guidance() for _ in problems]
        wanted = [problem for problem in problems if not self.explores(problem)]
        found = iter(self.guide.inter(wanted) if wanted else [])
        return [Guidance() if self.explores(p) else next(found).guidance for p in problems]

    def _reflect(self, works: Sequence[_Work]) -> list[_Work]:
        """Have each last text looked at; return those that were.

        Left out is what makes no guidance: an attempt that exceeds the guide's token budget.
        """
        attempts = [
            Attempt(problem=work.problem, text=solving_part(self.prompts, work.turns[-1]))
            for work in works
        ]
        guidance = self.guide.intra(attempts)
        asked = [(w, g) for w, g in zip(works, guidance, strict=True) if g]
        self._ask([w for w, _ in asked], [g for _, g in asked], role="reflect")
        return [w for w, _ in asked]

    def _ask(self, works: Sequence[_Work], guidance: Sequence[Guidance], *, role: str) -> None:
        """Add a turn to each, all answered in one call."""
        if not works:
            return
        conversations = [
            g.apply(self.prompts.solve(work.problem))
            for work, g in zip(works, guidance, strict=True)
        ]
        answers = self.model.generate(
            conversations, max_tokens=self.max_tokens, temperature=self.temperature, role=role
        )
        for work, g, asked, answer in zip(works, guidance, conversations, answers, strict=True):
            work.turns.append(read_turn(self.prompts, asked, g, answer))
            work.cut = isinstance(answer, Completion) and answer.truncated

    # ------------------------------------------------------------------ solutions

    def _solution(self, work: _Work, mode: SolveMode) -> Solution:
        source = answered_turn(work.turns)
        return Solution(
            problem=work.problem,
            mode=mode,
            answer=source.answer,
            text=solving_part(self.prompts, source) if source.text else "",
            turns=tuple(work.turns),
            failure="" if source.answer is not None else self._missing(work),
            ledger=usage_by_role(work.turns),
        )

    def _missing(self, work: _Work) -> str:
        """Why there is no answer."""
        if reason := work.turns[-1].failure:
            return reason
        cut = f", which was cut at max_tokens={self.max_tokens:,}" if work.cut else ""
        return f"no final answer in the text{cut}"


def _prompts_of(guide: Guide | None) -> SolvePrompts:
    if guide is None:
        return EnglishPrompts()
    if not _reads_answers(guide.prompts):
        raise ConfigError(
            f"{type(guide.prompts).__name__} of the guide cannot read an answer or a verdict; give "
            "Solver(prompts=...), such as EnglishPrompts()"
        )
    return guide.prompts


def _reads_answers(prompts: Prompts) -> TypeGuard[SolvePrompts]:
    return all(callable(getattr(prompts, name, None)) for name in ("answer", "verdict"))


def _check_problems(problems: Any) -> None:
    if isinstance(problems, Problem | str):
        raise InvalidInputError("problems is a single one; give a list: solve([problem])")
    for problem in problems:
        if not isinstance(problem, Problem):
            raise InvalidInputError(
                f"{problem!r:.60} is no problem; give Problem(text=...) for each"
            )
