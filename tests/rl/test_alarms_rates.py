"""How often each alarm rings for nothing, and how soon it rings for its failure.

Every series is drawn from a seed, with the noise of a small run: 32 guided and 32 scratch rollouts
a step. The thresholds were set on other seeds. The table in docs/watching.md is what `table`
returns.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from lanpo_rl.alarms import (
    Alarm,
    BehaviourCollapse,
    GradientGrowth,
    HeadersVanish,
    Leakage,
    LessonsShown,
    Monoculture,
    NewEntries,
    SummaryDrift,
    default_alarms,
)

RUNS, FEW, STEPS, BEGINS = 100, 30, 300, 100
PAGE = Path(__file__).parents[2] / "docs" / "watching.md"
Step = dict[str, float]
Series = Callable[[random.Random], Iterator[Step]]


def share_of(rng: random.Random, p: float, n: int = 32) -> float:
    """What n rollouts show of a true share."""
    return sum(rng.random() < p for _ in range(n)) / n


def ramp(step: int, begin: float, end: float, *, over: tuple[int, int]) -> float:
    done = (step - over[0]) / (over[1] - over[0])
    return begin + (end - begin) * min(1.0, max(0.0, done))


# --- gradient norms ---------------------------------------------------------------------------


def noisy_norms(rng):
    for _ in range(STEPS):
        yield {"grad_norm": math.exp(rng.gauss(0, 0.6))}


def norms_on_two_levels(rng):
    """Whole groups under one guidance: some steps have next to no gradient, ever fewer of them."""
    for step in range(STEPS):
        quiet = rng.random() < ramp(step, 0.7, 0.3, over=(0, STEPS))
        yield {"grad_norm": (0.15 if quiet else 1.2) * math.exp(rng.gauss(0, 0.3))}


def norms_that_fall_and_double(rng):
    for step in range(STEPS):
        level = ramp(step, 1, 0.2, over=(0, 200)) * (2 if step > 100 else 1)
        yield {"grad_norm": level * math.exp(rng.gauss(0, 0.4))}


def growing_norms(rng):
    """Three per cent a step: four times as large after 47 steps."""
    for step in range(STEPS):
        growth = 1.03 ** max(0, step - BEGINS)
        yield {"grad_norm": growth * math.exp(rng.gauss(0, 0.6))}


def a_norm_that_is_none(rng):
    for step in range(STEPS):
        yield {"grad_norm": math.nan if step == BEGINS else math.exp(rng.gauss(0, 0.6))}


# --- leakage ----------------------------------------------------------------------------------


def rewards(rng, guided, scratch, held_out, *, every=25):
    """Evaluated before every `every`-th step, on 100 problems."""
    for step in range(STEPS):
        figures = {
            "reward_guided": share_of(rng, guided(step)),
            "reward_scratch": share_of(rng, scratch(step)),
        }
        if step % every == 0:
            figures["eval_reward"] = share_of(rng, held_out(step), 100)
        yield figures


def nothing_happens(rng):
    return rewards(rng, lambda s: 0.3, lambda s: 0.3, lambda s: 0.3)


def help_that_is_learned(rng):
    """Guidance helps at once; held-out problems follow over 250 steps."""
    return rewards(
        rng,
        lambda s: 0.8,
        lambda s: ramp(s, 0.1, 0.8, over=(0, 250)),
        lambda s: ramp(s, 0.1, 0.7, over=(0, 250)),
    )


def slow_transfer(rng):
    return rewards(
        rng,
        lambda s: ramp(s, 0.3, 0.7, over=(0, STEPS)),
        lambda s: ramp(s, 0.3, 0.6, over=(0, STEPS)),
        lambda s: ramp(s, 0.2, 0.4, over=(0, STEPS)),
    )


def answers_given_away(rng):
    """From the beginning: counted from step 0."""
    return rewards(rng, lambda s: 1.0, lambda s: 0.2, lambda s: 0.2)


def a_leak_that_is_found(rng):
    """The policy finds the answers in its guidance from step 100 on."""
    return rewards(
        rng,
        lambda s: ramp(s, 0.3, 0.95, over=(BEGINS, 150)),
        lambda s: 0.3,
        lambda s: 0.3,
        every=10,
    )


# --- behaviour collapse -----------------------------------------------------------------------


def two_arms(rng, guided, scratch, *, longer=0.0, surer=0.0):
    """`longer` and `surer` are how guided completions differ in length and entropy."""
    for step in range(STEPS):
        yield {
            "reward_guided": share_of(rng, guided(step)),
            "reward_scratch": share_of(rng, scratch(step)),
            "length_guided": rng.gauss(200 * (1 + longer), 12),
            "length_scratch": rng.gauss(200, 12),
            "entropy_guided": rng.gauss(0.5 * (1 - surer), 0.04),
            "entropy_scratch": rng.gauss(0.5, 0.04),
        }


def a_small_uplift(rng):
    """Nothing but a tenth of reward tells the arms apart."""
    return two_arms(rng, lambda s: 0.4, lambda s: 0.3)


def only_longer(rng):
    return two_arms(rng, lambda s: 0.3, lambda s: 0.3, longer=0.3)


def learned(rng):
    def scratch(step):
        return ramp(step, 0.2, 0.75, over=(60, 200))

    return two_arms(rng, lambda s: 0.75, scratch)


def solved(rng):
    return two_arms(rng, lambda s: 0.98, lambda s: 0.97)


def a_placebo(rng):
    """Guidance without any effect, from the beginning: counted from step 0."""
    return two_arms(rng, lambda s: 0.3, lambda s: 0.3)


def guidance_ignored(rng):
    return two_arms(rng, lambda s: ramp(s, 0.7, 0.2, over=(BEGINS, 120)), lambda s: 0.2)


# --- headers ----------------------------------------------------------------------------------


def headers(rng, level):
    for step in range(STEPS):
        yield {"headers_present": share_of(rng, level(step))}


def headers_kept(rng):
    return headers(rng, lambda s: 0.8)


def headers_rare(rng):
    return headers(rng, lambda s: 0.15)


def headers_lost(rng):
    return headers(rng, lambda s: ramp(s, 0.9, 0.1, over=(BEGINS, 130)))


# --- lessons ----------------------------------------------------------------------------------


def lessons(rng, weights, *, pool=lambda step: 20 + step):
    """Six guided prompts a step, with one lesson each."""
    shown = LessonsShown()
    for step in range(STEPS):
        shares = weights(step)
        drawn = rng.choices(range(len(shares)), shares, k=6)
        shown.add([(str(lesson),) for lesson in drawn])
        yield {"pool_size": pool(step), **shown.figures()}


def zipf(k):
    return [1 / (i + 1) for i in range(k)]


def even_use(rng):
    return lessons(rng, lambda s: [1.0] * 16)


def natural_use(rng):
    return lessons(rng, lambda s: zipf(30))


def a_small_pool(rng):
    return lessons(rng, lambda s: [1.0] * 4, pool=lambda s: 4)


def three_lessons(rng):
    """From step 100 on, three lessons get nine tenths of the prompts."""
    few = [0.3, 0.3, 0.3, *[0.1 / 27] * 27]
    return lessons(rng, lambda s: zipf(30) if s < BEGINS else few)


# --- pool rot ---------------------------------------------------------------------------------


def canary(rng, readable, own, agreement):
    for step in range(STEPS):
        figures = {}
        if step and step % 25 == 0:
            figures["canary_readable"] = share_of(rng, readable(step), 8)
        if step and step % 25 == 0 and step > 25:
            figures["canary_own"] = share_of(rng, own(step), 8)
            figures["canary_agreement"] = min(1.0, max(0.0, rng.gauss(agreement(step), 0.08)))
        yield figures


def sound_summaries(rng):
    """One in twenty cannot be read, and the wording changes a good deal."""
    return canary(
        rng, lambda s: 0.95, lambda s: 0.95, lambda s: ramp(s, 0.6, 0.45, over=(50, STEPS))
    )


def summaries_that_drift(rng):
    def fading(step):
        return ramp(step, 0.95, 0.15, over=(BEGINS, 200))

    return canary(rng, lambda s: 0.95, fading, lambda s: ramp(s, 0.6, 0.3, over=(BEGINS, 200)))


def summaries_nobody_reads(rng):
    def fading(step):
        return ramp(step, 0.95, 0.2, over=(BEGINS, 200))

    return canary(rng, fading, lambda s: 0.95, lambda s: 0.6)


def entries(rng, new, old):
    """Eight guided rollouts a step from new entries, sixteen from old ones."""
    for step in range(STEPS):
        yield {
            "utility_new": share_of(rng, new(step), 8),
            "utility_old": share_of(rng, old(step), 16),
        }


def equal_entries(rng):
    return entries(rng, lambda s: 0.5, lambda s: 0.5)


def chosen_entries(rng):
    """Old entries that are still shown were chosen: a tenth better is natural."""
    return entries(rng, lambda s: 0.63, lambda s: 0.7)


def rotten_entries(rng):
    return entries(rng, lambda s: ramp(s, 0.6, 0.25, over=(BEGINS, 130)), lambda s: 0.6)


# --- the rates --------------------------------------------------------------------------------

SILENT: list[tuple[type[Alarm], Series]] = [
    (Leakage, nothing_happens),
    (Leakage, help_that_is_learned),
    (Leakage, slow_transfer),
    (BehaviourCollapse, a_small_uplift),
    (BehaviourCollapse, only_longer),
    (BehaviourCollapse, learned),
    (BehaviourCollapse, solved),
    (HeadersVanish, headers_kept),
    (HeadersVanish, headers_rare),
    (GradientGrowth, noisy_norms),
    (GradientGrowth, norms_on_two_levels),
    (GradientGrowth, norms_that_fall_and_double),
    (Monoculture, even_use),
    (Monoculture, natural_use),
    (Monoculture, a_small_pool),
    (SummaryDrift, sound_summaries),
    (NewEntries, equal_entries),
    (NewEntries, chosen_entries),
]
# alarm, failure, the step in which it begins, and within how many steps nine of ten runs must ring
FAILURES: list[tuple[type[Alarm], Series, int, int]] = [
    (Leakage, answers_given_away, 0, 100),
    (Leakage, a_leak_that_is_found, BEGINS, 80),
    (BehaviourCollapse, a_placebo, 0, 120),
    (BehaviourCollapse, guidance_ignored, BEGINS, 50),
    (HeadersVanish, headers_lost, BEGINS, 40),
    (GradientGrowth, growing_norms, BEGINS, 75),
    (GradientGrowth, a_norm_that_is_none, BEGINS, 0),
    (Monoculture, three_lessons, BEGINS, 30),
    (SummaryDrift, summaries_that_drift, BEGINS, 100),
    (SummaryDrift, summaries_nobody_reads, BEGINS, 100),
    (NewEntries, rotten_entries, BEGINS, 60),
]


@cache
def rings(kind: type[Alarm], series: Series, every: int = 1) -> list[list[int]]:
    """The steps in which an alarm rings, in each run; told `every` so many steps."""
    found = []
    for seed in range(RUNS if every == 1 else FEW):
        alarm = next(a for a in default_alarms(every=every).alarms if isinstance(a, kind))
        told = averaged(series(random.Random(f"fresh {series.__name__} {seed}")), every)
        found.append([step for step, figures in told if alarm.update(step, figures) is not None])
    return found


def averaged(series: Iterator[Step], every: int) -> Iterator[tuple[int, Step]]:
    """Steps as a trainer logs them: averages of `every` steps, evaluations on their own."""
    sums: dict[str, list[float]] = {}
    for step, figures in enumerate(series):
        evaluation = {n: v for n, v in figures.items() if n.startswith("eval_")}
        if every > 1 and evaluation:
            yield step, evaluation
        for name, value in figures.items():
            if every == 1 or name not in evaluation:
                sums.setdefault(name, []).append(value)
        if (step + 1) % every == 0:
            yield step, {name: statistics.fmean(values) for name, values in sums.items()}
            sums = {}


def false_alarms(kind: type[Alarm], series: Series) -> int:
    """Runs of a hundred in which it rings at all."""
    return sum(map(bool, rings(kind, series)))


def delays(kind: type[Alarm], series: Series, begins: int) -> list[float]:
    """Steps from the failure to the first ring after it; infinite for runs without one."""
    return [
        min((step - begins for step in steps if step >= begins), default=math.inf)
        for steps in rings(kind, series)
    ]


def table() -> str:
    """The rates as they stand in the docs."""
    rows = [
        f"| `{kind.name}` | {said(series)} | {false_alarms(kind, series)} | – |"
        for kind, series in SILENT
    ]
    for kind, series, begins, _ in FAILURES:
        late = sorted(delays(kind, series, begins))
        middle, ninth = statistics.median(late), late[int(0.9 * len(late))]
        rung = sum(map(math.isfinite, late))
        rows.append(f"| `{kind.name}` | **{said(series)}** | {rung} | {middle:.0f} / {ninth:.0f} |")
    return "\n".join(rows)


def said(series: Series) -> str:
    return series.__name__.replace("_", " ")


@pytest.mark.parametrize(("kind", "series"), SILENT, ids=lambda item: item.__name__)
def test_it_stays_silent(kind, series):
    assert false_alarms(kind, series) <= 3


@pytest.mark.parametrize(
    ("kind", "series", "begins", "within"),
    FAILURES,
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_it_rings_on_its_failure(kind, series, begins, within):
    late = sorted(delays(kind, series, begins))
    assert late[int(0.9 * RUNS)] <= within
    before = sum(any(step < begins for step in steps) for steps in rings(kind, series))
    assert before <= 3


@pytest.mark.parametrize(
    ("kind", "series"), [row[:2] for row in FAILURES], ids=lambda item: item.__name__
)
def test_it_rings_once_while_the_failure_goes_on(kind, series):
    assert statistics.fmean(map(len, rings(kind, series))) <= 1.2


@pytest.mark.parametrize(("kind", "series"), SILENT, ids=lambda item: item.__name__)
def test_it_stays_silent_on_averages_of_ten_steps(kind, series):
    assert sum(map(bool, rings(kind, series, 10))) <= 1


@pytest.mark.parametrize(
    ("kind", "series", "begins", "within"),
    FAILURES,
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_it_rings_on_averages_of_ten_steps(kind, series, begins, within):
    late = sorted(
        min((step - begins for step in steps if step >= begins), default=math.inf)
        for steps in rings(kind, series, 10)
    )
    assert late[int(0.9 * FEW)] <= max(1.5 * within, 10)


def test_the_page_shows_these_rates():
    assert table() in PAGE.read_text(encoding="utf-8")
