"""Questions that a study answers: two arms, a measure, and a plain sentence with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lanpo_rl.study.report.figures import (
    cost_text,
    seeds_text,
    share,
    signed,
    thousands,
    with_interval,
)
from lanpo_rl.study.report.findings import ArmRuns, SubjectRuns
from lanpo_rl.study.report.measures import Cost, Measure
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.statistics import (
    FEWEST_SEEDS,
    Estimate,
    Verdict,
    estimate,
    paired_difference,
    saving,
    verdict,
)

__all__ = ["Answer", "Question", "answers"]


@dataclass(frozen=True)
class Question:
    """Whether one arm does better than another; or, with one arm alone, than a bound.

    Attributes:
        text: the question, for people; "yes" means what it asks.
        better: the arm that would do better; `None`: `worse` is to be at or below the bound.
        worse: the arm it is compared with; `None`: `better` is to be at or above the bound.
        measure: what is compared; of a `Cost` the share that `better` saves.
        worse_measure: another measure for `worse`, to compare two figures of one arm.
        subject: on which it is asked; `None`: on every one that has the arms.
        bound: of a single arm; of two, how much better it has to be.
        margin: a difference no larger than this is none.
        expected: what was known before.

    >>> from lanpo_rl.study.report.measures import final
    >>> Question("Does memory help?", "recommended", "grpo", final("zero_shot")).arms
    ('recommended', 'grpo')
    """

    text: str
    better: str | None
    worse: str | None
    measure: Measure | Cost
    worse_measure: Measure | None = None
    subject: str | None = None
    bound: float = 0.0
    margin: float = 0.02
    expected: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms it needs."""
        return tuple(dict.fromkeys(arm for arm in (self.better, self.worse) if arm))

    def asks(self, found: SubjectRuns) -> bool:
        """Whether it is asked of a subject: its arms are part of the study, its modes taught."""
        here = self.subject in (None, found.subject.name)
        measures = [m for m in (self.measure, self.worse_measure) if isinstance(m, Measure)]
        taught = all(m.mode in (None, *found.subject.modes) for m in measures)
        return here and taught and all(arm in found.arms for arm in self.arms)

    def answer(self, found: SubjectRuns) -> Answer:
        """Compare the arms seed by seed."""
        if isinstance(self.measure, Cost):
            return self._answer_costs(found, self.measure)
        if self.better and self.worse:
            return self._answer_two(found, found.arms[self.better], found.arms[self.worse])
        return self._answer_bound(found)

    def _answer_costs(self, found: SubjectRuns, cost: Cost) -> Answer:
        a, b = (found.arms[arm] for arm in (self.better, self.worse) if arm)
        ours, theirs = ({run.seed: run for run in arm.runs} for arm in (a, b))
        saved = {
            seed: saving(
                cost.read(ours[seed]),
                cost.read(theirs[seed]),
                a_spent=cost.spent(ours[seed]),
                b_spent=cost.spent(theirs[seed]),
            )
            for seed in sorted(ours.keys() & theirs.keys())
        }
        known = {seed: share for seed, share in saved.items() if share is not None}
        # Where one alone got there, what was saved or lost is that at least: it may be more.
        at_least = {seed for seed in known if cost.read(theirs[seed]) is None}
        at_most = {seed for seed in known if cost.read(ours[seed]) is None}
        reached = "; ".join(
            f"{arm.label} {cost_text([cost.read(r) for r in arm.runs], unit=cost.axis)}"
            for arm in (a, b)
        )
        sentence = f"{cost.label}, median and seeds that got there: {reached}"
        if saved and not known:
            return Answer(self, found, "not decided", f"{sentence}; on no seed either did.", None)
        answer = self._compared(found, sentence, estimate(known), f"share of {cost.axis} saved")
        unsure = {"yes": at_most, "no": at_least, "not decided": ()}[answer.verdict]
        return replace(answer, verdict="not decided") if unsure else answer

    def _answer_two(self, found: SubjectRuns, a: ArmRuns, b: ArmRuns) -> Answer:
        read = self.measure.read
        other = self.worse_measure or self.measure
        ours, theirs = a.by_seed(read), b.by_seed(other.read)
        label = self.measure.label
        if self.worse_measure:
            label = f"{label} against {other.label}"
        sentence = (
            f"{label}: {a.label} {with_interval(estimate(ours))}, "
            f"{b.label} {with_interval(estimate(theirs))}"
        )
        answer = self._compared(found, sentence, paired_difference(ours, theirs), "difference")
        if not _same_runs(a, b):
            return answer
        sentence = (
            f"{answer.sentence} Both made the very same runs: on this task the change does nothing."
        )
        return replace(answer, sentence=sentence, verdict="not decided")

    def _answer_bound(self, found: SubjectRuns) -> Answer:
        arm = found.arms[self.arms[0]]
        values = arm.by_seed(self.measure.read)
        mean = estimate(values)
        tokens = isinstance(self.measure, Measure) and self.measure.unit == "tokens"
        bound = thousands(self.bound) if tokens else share(self.bound)
        side = "at least" if self.better else "at most"
        sentence = f"{self.measure.label}: {arm.label} {_level(mean, tokens)}; {side} {bound}"
        sign = 1 if self.better else -1
        room = estimate({seed: sign * (v - self.bound) for seed, v in values.items()})
        if room is None:
            return Answer(self, found, "not decided", f"{sentence}; no seed has it.", None)
        held = sum(value >= 0 for value in room.by_seed.values())
        reached = "" if room.mean >= 0 else " not"
        sentence += f": the mean is{reached}, and {held} of {seeds_text(room.seeds)}."
        without = len(arm.runs) - room.seeds
        if without:
            sentence += f" Of {seeds_text(without)} it is not known."
        decided = _on_the_right_side(room)
        return Answer(self, found, "not decided" if without else decided, sentence, room)

    def _compared(
        self, found: SubjectRuns, sentence: str, difference: Estimate | None, what: str
    ) -> Answer:
        """Decide between two arms."""
        if difference is None:
            return Answer(self, found, "not decided", f"{sentence}; no seed to compare.", None)
        beyond = difference.moved(-self.bound)
        wanted = f", asked for {signed(self.bound)}" if self.bound else ""
        sentence += (
            f"; {what} {with_interval(difference, sign=True)}{wanted}, "
            f"above 0 on {difference.above} of {seeds_text(difference.seeds)}."
        )
        decided = verdict(beyond.interval, self.margin, beyond.seeds)
        return Answer(self, found, decided, sentence, difference)


@dataclass(frozen=True)
class Answer:
    """A question with what was found.

    Attributes:
        question: as asked.
        found: the subject it was asked of.
        verdict: yes, no, or not decided.
        sentence: the arms, the difference with its interval, the seeds.
        difference: in the question's favour above 0; `None` without a seed to compare.
    """

    question: Question
    found: SubjectRuns
    verdict: Verdict
    sentence: str
    difference: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """Plain data for a results file."""
        difference = self.difference
        return {
            "question": self.question.text,
            "subject": self.found.subject.name,
            "arms": list(self.question.arms),
            "measure": self.question.measure.label,
            "bound": self.question.bound,
            "margin": self.question.margin,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "difference": difference and difference.mean,
            "interval": difference and list(difference.interval),
            "by_seed": difference and dict(difference.by_seed),
        }


def _on_the_right_side(room: Estimate) -> Verdict:
    """Whether what is left to a bound is 0 or more: the bound itself is within it."""
    low, high = room.interval
    if room.seeds < FEWEST_SEEDS:
        return "not decided"
    return "yes" if low >= 0 else "no" if high < 0 else "not decided"


def _same_runs(a: ArmRuns, b: ArmRuns) -> bool:
    """Whether two arms trained alike on every seed, to the last pool and evaluation."""
    ours, theirs = ({run.seed: _trace(run) for run in arm.runs} for arm in (a, b))
    return a is not b and bool(ours) and ours == theirs


def _trace(run: ArmResult) -> tuple[object, ...]:
    return (run.pool_digest or run.arm, *((p.step, p.tokens, p.zero_shot) for p in run.curve))


def answers(questions: Sequence[Question], subjects: Sequence[SubjectRuns]) -> list[Answer]:
    """Answer each question on every subject that it is asked of."""
    return [
        question.answer(found)
        for question in questions
        for found in subjects
        if question.asks(found)
    ]


def _level(mean: Estimate | None, tokens: bool) -> str:
    if mean is None or not tokens:
        return with_interval(mean)
    low, high = mean.interval
    interval = "" if low != low else f" [{thousands(low)}, {thousands(high)}]"
    return f"{thousands(mean.mean)}{interval}"
