"""From samples and reference answers to figures with intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from lanpo_memory.errors import ConfigError, InvalidInputError, positive
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.solving import MODES
from lanpo_memory.types import SolveMode, Usage
from lanpo_rl.evaluation.estimates import DRAWS, bootstrap_intervals, pass_at_k, steps_to
from lanpo_rl.evaluation.outcomes import Outcome, distinct, outcome_of
from lanpo_rl.evaluation.samples import Sample, key_of
from lanpo_rl.rewards import RewardFunction, math_accuracy
from lanpo_rl.tasks.base import Example

__all__ = ["Difference", "Figure", "ModeResults", "Results", "evaluate_samples"]

Outcomes = Mapping[str, Mapping[SolveMode, Sequence[Outcome]]]  # by problem id


@dataclass(frozen=True)
class Figure:
    """A mean over `problems`, with its bootstrap interval; `None` where nothing can be said."""

    value: float | None
    low: float | None
    high: float | None
    problems: int


@dataclass(frozen=True)
class ModeResults:
    """What one mode came to. Shares are of its samples, 0 to 1; flips and `missing` are counts.

    `accuracy` is mean@k, `pass_at` pass@j by j. `missing` are samples whose calls failed, or that
    were not asked for yet: no figure counts them but `accuracy_least`, which takes them for wrong.
    `unanswered` held no final answer; of `unusable` ones the last answer was a refusal, filtered or
    empty.
    `right_to_wrong` and `wrong_to_right` compare the first turn's answer with the last one's, over
    the `reflected` samples. `usage` is what the samples cost, by role.
    """

    mode: SolveMode
    samples: int
    missing: int
    accuracy: Figure
    accuracy_least: float
    pass_at: Mapping[int, Figure]
    unanswered: float
    unusable: float
    truncated: float
    guided: float
    template: float
    reflected: int
    right_to_wrong: int
    wrong_to_right: int
    usage: Mapping[str, Usage]


@dataclass(frozen=True)
class Difference:
    """How much more right `mode` is than `other` on the same problems, -1 to 1."""

    mode: SolveMode
    other: SolveMode
    accuracy: Figure


@dataclass(frozen=True)
class Results:
    """Everything an evaluation found.

    `right` holds for each problem id and mode the samples in order: right, wrong, or `None` where
    one is missing.
    """

    problems: int
    k: int
    modes: tuple[ModeResults, ...]
    differences: tuple[Difference, ...]
    right: Mapping[str, Mapping[SolveMode, tuple[bool | None, ...]]]

    @property
    def missing(self) -> int:
        """How many samples are missing, over all modes."""
        return sum(mode.missing for mode in self.modes)

    def mode(self, name: SolveMode) -> ModeResults:
        """Return the results of one mode.

        Raises:
            ConfigError: it was not evaluated.
        """
        for each in self.modes:
            if each.mode == name:
                return each
        raise ConfigError(f"mode {name!r} was not evaluated")


def evaluate_samples(
    samples: Iterable[Sample],
    examples: Sequence[Example],
    *,
    score: RewardFunction = math_accuracy,
    prompts: SolvePrompts | None = None,
    modes: Sequence[SolveMode] | None = None,
    k: int | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> Results:
    r"""Judge samples by reference answers, and count.

    Samples of other problems, modes or numbers are left aside, failed ones too. A sample is right
    where its score is above 0.5.

    Args:
        samples: such as `Evaluator.run` yields, or `SampleFile.samples`; read once.
        examples: problems with their reference answers; repeated ones count once.
        score: a reward function in TRL's form.
        prompts: those the samples were made with; English by default.
        modes: which to report, in this order; by default those that occur.
        k: samples per problem; by default the most that occur.
        draws: of the bootstrap, see `bootstrap_interval`.
        level: of its intervals.
        seed: of its draws.
        progress: called after each sample that was judged.

    Raises:
        ConfigError: no problems, or a setting out of range.
        InvalidInputError: no samples to count, or a problem with two answers.

    >>> from lanpo_memory import Problem
    >>> from lanpo_memory.testing import ScriptedChatModel
    >>> from lanpo_rl.evaluation import Evaluator
    >>> examples = [Example(Problem(text="2 + 3?"), "5"), Example(Problem(text="2 + 4?"), "6")]
    >>> model = ScriptedChatModel(r"\boxed{5}")
    >>> batches = Evaluator(model).run([example.problem for example in examples])
    >>> results = evaluate_samples([s for batch in batches for s in batch], examples)
    >>> results.mode("zero_shot").accuracy.value
    0.5
    """
    positive("k", k)
    kept = distinct(examples)
    prompts = EnglishPrompts() if prompts is None else prompts
    judged = _judged(samples, kept, score, prompts, progress)
    seen = {mode for by_mode in judged.values() for mode in by_mode}
    named = [mode for mode in MODES if mode in seen] if modes is None else list(modes)
    numbers = [o.number for by_mode in judged.values() for m in named for o in by_mode.get(m, ())]
    if not numbers:
        raise InvalidInputError("none of the samples belongs to these problems and modes")
    k = max(numbers) + 1 if k is None else k
    table = _Table(judged, named, k)
    return table.results(draws=draws, level=level, seed=seed)


def _judged(
    samples: Iterable[Sample],
    examples: Sequence[Example],
    score: RewardFunction,
    prompts: SolvePrompts,
    progress: Callable[[], object],
) -> Outcomes:
    """Outcomes by problem id and mode, each number once; every problem is there."""
    by_key = {key_of(e.problem, "zero_shot", 0)[0]: e for e in examples}
    judged: dict[str, dict[SolveMode, list[Outcome]]] = {e.problem.id: {} for e in examples}
    seen: set[object] = set()
    for sample in samples:
        example = by_key.get(sample.key[0])
        if example is None or sample.failed or sample.key in seen:
            continue
        seen.add(sample.key)
        outcome = outcome_of(sample, example.answer, score=score, prompts=prompts)
        judged[example.problem.id].setdefault(sample.solution.mode, []).append(outcome)
        progress()
    return judged


class _Table:
    """Outcomes as columns: one value for each problem, NaN where it has none."""

    def __init__(self, judged: Outcomes, modes: Sequence[SolveMode], k: int) -> None:
        self._judged, self._modes, self._k = judged, modes, k
        self._by_mode = {
            mode: [[o for o in by.get(mode, ()) if o.number < k] for by in judged.values()]
            for mode in modes
        }

    def results(self, *, draws: int, level: float, seed: int) -> Results:
        columns = self._columns()
        rows = list(zip(*columns.values(), strict=True))
        intervals = bootstrap_intervals(rows, draws=draws, level=level, seed=seed)
        figures = {
            name: _figure(column, *interval)
            for (name, column), interval in zip(columns.items(), intervals, strict=True)
        }
        return Results(
            problems=len(self._judged),
            k=self._k,
            modes=tuple(self._mode(mode, figures) for mode in self._modes),
            differences=tuple(
                Difference(mode, other, figures[mode, other])
                for other, mode in combinations(self._modes, 2)
            ),
            right={id_: self._right(by_mode) for id_, by_mode in self._judged.items()},
        )

    def _columns(self) -> dict[tuple[str, object], list[float]]:
        columns: dict[tuple[str, object], list[float]] = {}
        for mode in self._modes:
            counts = [(len(found), sum(o.right for o in found)) for found in self._by_mode[mode]]
            columns[mode, "mean"] = [c / n if n else math.nan for n, c in counts]
            for j in steps_to(self._k):
                columns[mode, j] = [pass_at_k(n, c, j) if n >= j else math.nan for n, c in counts]
        for other, mode in combinations(self._modes, 2):
            pairs = zip(columns[mode, "mean"], columns[other, "mean"], strict=True)
            columns[mode, other] = [a - b for a, b in pairs]
        return columns

    def _mode(self, mode: SolveMode, figures: Mapping[tuple[str, object], Figure]) -> ModeResults:
        found = [o for each in self._by_mode[mode] for o in each]
        wanted = len(self._judged) * self._k
        reflected = [o for o in found if o.reflected]
        return ModeResults(
            mode=mode,
            samples=len(found),
            missing=wanted - len(found),
            accuracy=figures[mode, "mean"],
            accuracy_least=sum(o.right for o in found) / wanted,
            pass_at={j: figures[mode, j] for j in steps_to(self._k)},
            unanswered=_share([not o.answered for o in found]),
            unusable=_share([o.unusable for o in found]),
            truncated=_share([o.truncated for o in found]),
            guided=_share([o.guided for o in found]),
            template=_share([o.template for o in found]),
            reflected=len(reflected),
            right_to_wrong=sum(o.first_right and not o.right for o in reflected),
            wrong_to_right=sum(o.right and not o.first_right for o in reflected),
            usage=_usage(found),
        )

    def _right(
        self, by_mode: Mapping[SolveMode, Sequence[Outcome]]
    ) -> dict[SolveMode, tuple[bool | None, ...]]:
        found = {mode: {o.number: o.right for o in by_mode.get(mode, ())} for mode in self._modes}
        return {mode: tuple(map(found[mode].get, range(self._k))) for mode in self._modes}


def _figure(column: Sequence[float], low: float, high: float) -> Figure:
    known = [value for value in column if not math.isnan(value)]
    value = math.fsum(known) / len(known) if known else None
    return Figure(value, _or_none(low), _or_none(high), len(known))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _share(marks: Sequence[bool]) -> float:
    return sum(marks) / len(marks) if marks else 0.0


def _usage(outcomes: Iterable[Outcome]) -> dict[str, Usage]:
    by_role: defaultdict[str, Usage] = defaultdict(Usage)
    for outcome in outcomes:
        for role, usage in outcome.usage.items():
            by_role[role] += usage
    return dict(by_role)
