"""Statistics over seeds, against values worked out by hand."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.evaluation.estimates import Interval
from lanpo_rl.study.results import Point
from lanpo_rl.study.statistics import (
    estimate,
    median_cost,
    paired,
    paired_difference,
    saving,
    seconds_to,
    tokens_to,
    verdict,
)


def curve(*values: float, tokens: int = 1000) -> list[Point]:
    """Evaluations 1,000 tokens and 2 seconds apart, self-corrected half as often as zero-shot."""
    return [
        Point(10 * i, tokens * i, 2.0 * i, value, 0.0, 0.0, None, self_corrected=value / 2)
        for i, value in enumerate(values)
    ]


# ---------------------------------------------------------------------- means and intervals


def test_the_interval_is_that_of_all_samples_with_replacement():
    values = [0.1, 0.5, 0.9]
    found = estimate(dict(enumerate(values)))
    assert found is not None
    # The exact bootstrap: every sample of three out of three, 27 of them, and its mean.
    means = sorted(statistics.fmean(s) for s in itertools.product(values, repeat=3))
    assert found.mean == pytest.approx(0.5)
    # The least and the most are 1 in 27 each, more than 2.5 %: both ends reach them.
    assert found.interval == pytest.approx((means[0], means[-1]))


def test_five_seeds_have_an_interval_within_their_range():
    values = [0.80, 0.85, 0.90, 0.95, 1.00]
    found = estimate(dict(enumerate(values)))
    assert found is not None
    means = sorted(statistics.fmean(s) for s in itertools.product(values, repeat=5))
    low, high = means[round(0.025 * 3125)], means[round(0.975 * 3125)]
    assert found.interval == pytest.approx((low, high), abs=0.011)
    assert min(values) < found.interval.low < found.mean < found.interval.high < max(values)


def test_the_order_of_the_seeds_does_not_matter():
    a, b = estimate({0: 0.1, 1: 0.7, 2: 0.4}), estimate({2: 0.4, 0: 0.1, 1: 0.7})
    assert a is not None
    assert b is not None
    assert a.interval == b.interval


def test_one_seed_has_a_mean_and_no_interval():
    found = estimate({3: 0.5})
    assert found is not None
    assert (found.mean, found.seeds) == (0.5, 1)
    assert all(math.isnan(end) for end in found.interval)


def test_no_seed_has_no_mean():
    assert estimate({}) is None
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_a_seed_that_is_no_number_is_refused():
    with pytest.raises(InvalidInputError, match="finite"):
        estimate({0: 0.5, 1: math.nan})


def test_a_difference_is_taken_on_common_seeds():
    found = paired_difference({0: 0.5, 1: 0.75, 7: 1.0}, {0: 0.25, 1: 1.0, 9: 0.0})
    assert found is not None
    assert found.by_seed == {0: 0.25, 1: -0.25}
    assert (found.mean, found.above) == (0.0, 1)


def test_pairing_takes_out_what_is_due_to_the_seed():
    hard, easy = {0: 0.1, 1: 0.5, 2: 0.9}, {0: 0.2, 1: 0.6, 2: 1.0}
    found = paired_difference(easy, hard)
    assert found is not None
    assert found.interval == pytest.approx((0.1, 0.1))
    assert paired(easy, hard, compare=max) == easy


def test_moving_an_estimate_moves_all_of_it():
    found = estimate({0: 0.2, 1: 0.4})
    assert found is not None
    moved = found.moved(-0.1)
    assert moved.mean == pytest.approx(found.mean - 0.1)
    assert moved.interval == pytest.approx([end - 0.1 for end in found.interval])
    assert moved.by_seed == pytest.approx({0: 0.1, 1: 0.3})


# ---------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0.01, 0.5, "yes"),
        (0.001, 0.021, "yes"),
        (0.001, 0.02, "no"),
        (-0.5, -0.01, "no"),
        (-0.02, 0.02, "no"),
        (-0.01, 0.0, "no"),
        (0.0, 0.0, "no"),
        (0.0, 0.5, "not decided"),
        (-0.03, 0.01, "not decided"),
        (-0.5, 0.0, "not decided"),
        (math.nan, math.nan, "not decided"),
    ],
)
def test_a_verdict_follows_its_definition(low: float, high: float, answer: str):
    assert verdict(Interval(low, high), 0.02, seeds=3) == answer


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_too_few_seeds_decide_nothing(seeds: int):
    assert verdict(Interval(0.5, 0.6), 0.02, seeds=seeds) == "not decided"
    assert verdict(Interval(-0.6, -0.5), 0.02, seeds=seeds) == "not decided"


@pytest.mark.parametrize("margin", [-0.1, math.nan])
def test_a_margin_below_nothing_is_refused(margin: float):
    with pytest.raises(InvalidInputError, match="margin"):
        verdict(Interval(0.0, 1.0), margin, seeds=5)


# ---------------------------------------------------------------------- cost to a threshold


def test_tokens_are_counted_to_where_the_line_crosses_the_threshold():
    found = curve(0.1, 0.2, 0.6, 0.9)
    assert tokens_to(found, 0.5) == pytest.approx(1750)  # 0.2 -> 0.6 takes 1,000: 0.3 is 750
    assert seconds_to(found, 0.5) == pytest.approx(3.5)


def test_a_threshold_that_is_met_exactly_costs_what_the_evaluation_did():
    assert tokens_to(curve(0.1, 0.5, 0.9), 0.5) == 1000


def test_the_first_time_counts_whatever_comes_after():
    assert tokens_to(curve(0.1, 0.8, 0.1, 0.9), 0.8) == 1000


def test_a_policy_that_begins_above_the_threshold_pays_nothing():
    assert tokens_to(curve(0.9, 0.1), 0.5) == 0


def test_a_threshold_that_was_never_reached_has_no_cost():
    assert tokens_to(curve(0.1, 0.2), 0.5) is None
    assert tokens_to([], 0.5) is None


def test_another_figure_can_be_followed_and_gaps_are_passed_over():
    found = [Point(0, 0, 0.0, 0.9, 0.0, 0.0, None), *curve(0.0, 0.4, 0.8)]
    assert tokens_to(found, 0.3, lambda point: point.self_corrected) == pytest.approx(1500)


def test_the_median_counts_runs_that_never_got_there_as_dearest():
    assert median_cost([30.0, 10.0, 20.0]) == 20.0
    assert median_cost([10.0, None, 20.0]) == 20.0
    assert median_cost([10.0, None]) is None
    assert median_cost([None, None, 10.0]) is None
    assert median_cost([]) is None


@pytest.mark.parametrize(
    ("a", "b", "saved"),
    [
        (60.0, 80.0, 0.25),
        (80.0, 60.0, -1 / 3),
        (75.0, None, 0.25),  # the other had spent 100 and was not there: it needs more
        (100.0, None, 0.0),
        (None, 80.0, -0.25),
        (None, 100.0, 0.0),
        (None, None, None),  # neither: nothing is known
        (0.0, 0.0, 0.0),
        (10.0, 0.0, None),
    ],
)
def test_a_saving_is_the_least_that_is_known(a: float | None, b: float | None, saved: float | None):
    found = saving(a, b, a_spent=100.0, b_spent=100.0)
    assert found == (saved if saved is None else pytest.approx(saved))


def test_a_bound_that_does_not_tell_who_was_first_saves_nothing():
    assert saving(150.0, None, a_spent=200.0, b_spent=100.0) == 0.0
    assert saving(None, 150.0, a_spent=100.0, b_spent=200.0) == 0.0
