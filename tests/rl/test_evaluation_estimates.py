"""pass@k, mean@k and bootstrap intervals against sums by hand and by brute force."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.evaluation import bootstrap_interval, estimates, mean_at_k, pass_at_k
from lanpo_rl.evaluation.estimates import bootstrap_intervals, steps_to


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [
        (5, 2, 3, 0.9),  # 1 - C(3,3)/C(5,3) = 1 - 1/10
        (4, 1, 1, 0.25),
        (4, 1, 2, 0.5),  # 1 - C(3,2)/C(4,2) = 1 - 3/6
        (4, 2, 2, 5 / 6),  # 1 - 1/6
        (1, 0, 1, 0.0),
        (1, 1, 1, 1.0),
        (3, 0, 3, 0.0),
        (3, 1, 3, 1.0),
    ],
)
def test_pass_at_k_by_hand(n: int, c: int, k: int, expected: float):
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int):
    for c in range(n + 1):
        right = [i < c for i in range(n)]
        for k in range(1, n + 1):
            subsets = list(combinations(right, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_pass_at_k_is_unbiased(p: float):
    n, k = 10, 4
    expected = sum(
        math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1)
    )
    assert expected == pytest.approx(1 - (1 - p) ** k)


def test_pass_at_k_with_many_samples_neither_overflows_nor_loses_digits():
    exact = 1 - math.comb(9_990, 5_000) / math.comb(10_000, 5_000)
    assert pass_at_k(10_000, 10, 5_000) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5), (0, 0, 1)])
def test_pass_at_k_of_nonsense_is_refused(n: int, c: int, k: int):
    with pytest.raises(InvalidInputError):
        pass_at_k(n, c, k)


def test_mean_at_k_counts_each_problem_alike():
    assert mean_at_k([[1, 1, 1, 1], [0]]) == 0.5
    assert mean_at_k([[True, False], [True, True]]) == 0.75


@pytest.mark.parametrize("nothing", [[], [[1], []]])
def test_mean_at_k_of_nothing_is_refused(nothing: list[list[float]]):
    with pytest.raises(InvalidInputError, match="at least one sample"):
        mean_at_k(nothing)


def test_steps_double_up_to_k():
    assert [steps_to(k) for k in (1, 2, 3, 8, 12)] == [
        (1,), (1, 2), (1, 2, 3), (1, 2, 4, 8), (1, 2, 4, 8, 12),
    ]  # fmt: skip


# ---------------------------------------------------------------------- intervals


def test_the_interval_of_shares_is_about_that_of_the_normal_curve():
    values = [1.0] * 300 + [0.0] * 700
    low, high = bootstrap_interval(values)
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - spread, abs=0.003)
    assert high == pytest.approx(0.3 + spread, abs=0.003)


def test_the_seed_makes_the_interval():
    values = np.random.default_rng(1).random(40)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_a_wider_level_is_wider():
    values = np.arange(50.0)
    inner, outer = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert outer.low < inner.low < inner.high < outer.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p, n, trials = 0.3, 100, 400
    hits = 0
    for trial in range(trials):
        low, high = bootstrap_interval(rng.random(n) < p, draws=500, seed=trial)
        hits += low <= p <= high
    # 95 %, less about a point for so few problems; the standard error here is 1.1 points.
    assert 0.91 <= hits / trials <= 0.98


def test_paired_differences_have_the_interval_of_the_differences():
    rng = np.random.default_rng(5)
    hard = rng.random(200)
    a, b = hard < 0.6, hard < 0.5  # b is right only where a is
    paired, alone_a, alone_b = (
        bootstrap_interval(column) for column in (a * 1.0 - b, a * 1.0, b * 1.0)
    )
    assert paired.low > 0
    assert alone_a.low < alone_b.high, "unpaired, the two could not be told apart"
    table = np.stack([a, b, a * 1.0 - b], axis=1)
    assert bootstrap_intervals(table)[2] == pytest.approx(paired)


def test_problems_without_a_value_are_left_out():
    values = [0.0, 1.0] * 30
    some = [*values, *[math.nan] * 5]
    low, high = bootstrap_interval(some, seed=1)
    plain = bootstrap_interval(values, seed=1)
    assert low == pytest.approx(plain.low, abs=0.03)
    assert high == pytest.approx(plain.high, abs=0.03)


@pytest.mark.parametrize("values", [[0.4], [math.nan, 0.4], [math.nan, math.nan]])
def test_one_problem_says_nothing_of_the_spread(values: list[float]):
    assert all(map(math.isnan, bootstrap_interval(values)))


def test_many_problems_take_little_memory_at_once(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(2).random(30)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(estimates, "_AT_ONCE", 100)
    assert bootstrap_interval(values) == pytest.approx(whole, abs=0.01)


@pytest.mark.parametrize(
    ("values", "settings"),
    [([], {}), ([1, 0], {"draws": 0}), ([1, 0], {"level": 1.0}), ([1, 0], {"level": 0.0})],
)
def test_an_interval_of_nothing_is_refused(values: list[float], settings: dict[str, float]):
    with pytest.raises(InvalidInputError):
        bootstrap_interval(values, **settings)
