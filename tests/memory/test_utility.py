from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import Exposure
from lanpo_memory.utility import Utility, UtilityLedger

Z = 1.959963984540054


def exposure(
    guided: tuple[float, ...] = (),
    scratch: tuple[float, ...] = (),
    *,
    lessons: tuple[str, ...] = ("a",),
    randomised: bool = True,
    size: int | None = None,
) -> Exposure:
    return Exposure(
        problem_id="p",
        lesson_ids=lessons,
        guided=guided,
        scratch=scratch,
        group_size=size or max(1, len(guided) + len(scratch)),
        randomised=randomised,
    )


def booked(*exposures: Exposure, decay: float = 0.9) -> UtilityLedger:
    ledger = UtilityLedger(decay=decay)
    ledger.book(exposures)
    return ledger


def record(*exposures: Exposure, lesson: str = "a", decay: float = 0.9) -> Utility:
    return booked(*exposures, decay=decay).table()[lesson]


# ---------------------------------------------------------------------- mean


def test_the_mean_is_a_decayed_beta_mean_of_clipped_rewards():
    found = record(exposure((2.0, 0.5), (0.0, 0.0)), exposure((1.0, -3.0), (1.0, 0.0)), decay=0.5)
    n = 0.5 * 2 / 4 + 2 / 4
    w = 0.5 * 1.5 / 4 + 1 / 4
    assert found.mean == (w + 1) / (n + 2)
    assert found.weight == n
    assert found.exposures == 2
    assert found.reward_guided == pytest.approx(0.125), "the report averages what was paid"
    assert found.reward_scratch == pytest.approx(0.25)


def test_the_order_of_the_log_decides_the_mean():
    good, bad = exposure((1.0,)), exposure((0.0,))
    assert record(bad, good).mean > 0.5 > record(good, bad).mean


def test_a_lesson_that_was_never_tried():
    ledger = booked(exposure((1.0,)))
    assert ledger.mean("b") == Utility().mean == 0.5
    assert ledger.upper_bound("b", min_exposures=0) == 1.0
    assert "b" not in ledger.table()
    ledger.clear()
    assert ledger.table() == {}


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.1, float("nan")])
def test_decay_lies_in_0_1(decay: float):
    with pytest.raises(ConfigError, match="decay"):
        UtilityLedger(decay=decay)


# ---------------------------------------------------------------------- its interval


def test_wilsons_interval_by_hand():
    # Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857), example 81 of 263
    found = record(exposure((1.0,) * 81 + (0.0,) * 182, size=1), decay=1.0)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_wilsons_interval_of_one_success_reaches_one():
    found = record(exposure((1.0,)))
    assert found.low == pytest.approx(1 / (1 + Z**2))
    assert found.high == pytest.approx(1.0)


def test_without_evidence_the_interval_is_everything():
    found = record(exposure((), (1.0, 0.0)))
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_the_upper_bound_of_newcomers_is_one():
    ledger = booked(*[exposure((0.0,))] * 3)
    assert ledger.upper_bound("a", min_exposures=4) == 1.0
    assert ledger.upper_bound("a", min_exposures=3) == ledger.table()["a"].high < 0.65


# ---------------------------------------------------------------------- uplift


def test_the_first_comparison_by_hand():
    found = record(exposure((1.0, 1.0, 1.0), (0.0, 1.0)))
    assert found.uplift == pytest.approx(0.5)
    # Agresti-Caffo: 4 of 5 and 2 of 4, with a wider quantile for 3 + 2 rewards
    half = Z * (1 + (Z**2 + 1) / 20) * math.sqrt(0.8 * 0.2 / 5 + 0.5 * 0.5 / 4)
    assert found.uplift_low == pytest.approx(0.3 - half)
    assert found.uplift_high == 1.0, "clipped"
    assert found.uplift_low < 0 < found.uplift_high


def test_groups_are_weighed_as_mantel_and_haenszel_do():
    found = record(
        exposure((1.0, 1.0), (0.0, 0.0)),  # weight 4/4, difference 1
        exposure((0.0, 0.0, 1.0), (1.0,)),  # weight 3/4, difference -2/3
    )
    assert found.uplift == pytest.approx((1 * 1 - 0.75 * 2 / 3) / 1.75)


def test_the_comparison_is_within_groups():
    # The lesson is shown on easy problems more often, and changes nothing.
    easy = exposure((1.0, 1.0, 1.0), (1.0,))
    hard = exposure((0.0,), (0.0, 0.0, 0.0))
    found = record(easy, hard)
    assert found.reward_guided == 0.75
    assert found.reward_scratch == 0.25
    assert found.uplift == 0.0


def test_only_groups_with_both_kinds_of_rollouts_count():
    alone = [exposure((1.0, 1.0)), exposure((), (0.0, 0.0))]
    found = record(*alone)
    assert found.uplift is None
    assert (found.uplift_low, found.uplift_high) == (-1.0, 1.0)
    assert (found.evidence, found.shared) == ("none", False)
    both = exposure((1.0,), (1.0,))
    assert record(*alone, both).uplift == 0.0


def test_rewards_are_clipped_in_the_uplift():
    assert record(exposure((5.0, 0.25), (-7.0, 0.5))).uplift == pytest.approx(0.625 - 0.25)


def test_the_uplift_does_not_decay():
    better, equal = exposure((1.0,), (0.0,)), exposure((1.0,), (1.0,))
    assert record(better, *[equal] * 9, decay=0.1).uplift == pytest.approx(0.1)


def test_evidence_narrows_the_interval():
    group = exposure((1.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0))
    once, often = record(group), record(*[group] * 20)
    assert once.uplift == often.uplift == 0.5
    assert once.uplift_low < 0 < often.uplift_low
    assert once.uplift_high > often.uplift_high


def test_a_lesson_that_helps_some_problems_only_is_less_certain():
    # The same 40 rewards, the same uplift: spread evenly, or all of it on every other problem.
    even = [exposure((1.0, 0.0), (0.0, 0.0))] * 10
    patchy = [exposure((1.0, 1.0), (0.0, 0.0)), exposure((0.0, 0.0), (0.0, 0.0))] * 5
    assert record(*even).uplift == record(*patchy).uplift == 0.5
    assert record(*patchy).uplift_low < record(*even).uplift_low


# ---------------------------------------------------------------------- evidence


def test_chance_makes_evidence_causal():
    group = exposure((1.0,), (0.0,))
    assert record(group).evidence == "causal"
    assert record(group.model_copy(update={"randomised": False})).evidence == "correlational"


@pytest.mark.parametrize("first", ["randomised", "chosen"])
def test_of_mixed_evidence_only_the_causal_part_counts(first: str):
    causal = [exposure((1.0, 0.0), (0.0, 0.0))]
    chosen = [exposure((1.0, 1.0), (0.0, 0.0), lessons=("a", "b"), randomised=False)] * 3
    found = record(*(causal + chosen if first == "randomised" else chosen + causal))
    alone = record(*causal)
    assert found.exposures == 4
    assert (found.evidence, found.uplift, found.shared) == ("causal", 0.5, False)
    assert (found.uplift_low, found.uplift_high) == (alone.uplift_low, alone.uplift_high)


def test_a_randomised_exposure_without_comparison_makes_nothing_causal():
    found = record(exposure((1.0,)), exposure((1.0,), (0.0,), randomised=False))
    assert found.evidence == "correlational"


def test_shared_credit_is_said():
    both = exposure((1.0,), (0.0,), lessons=("a", "b"))
    table = booked(both, exposure((1.0,), (0.0,), lessons=("a",))).table()
    assert {lesson: (u.uplift, u.shared) for lesson, u in table.items()} == {
        "a": (1.0, True),
        "b": (1.0, True),
    }
    assert not record(exposure((1.0,), (0.0,))).shared
    twice = exposure((1.0,), (0.0,), lessons=("a", "a"))
    assert not record(twice).shared, "one lesson, named twice"
    assert record(twice).uplift_low == record(exposure((1.0,), (0.0,))).uplift_low


# ---------------------------------------------------------------------- properties

REWARDS = st.lists(st.floats(-1.0, 2.0) | st.sampled_from([0.0, 1.0]), max_size=4).map(tuple)
LOGS = st.lists(
    st.builds(
        exposure,
        guided=REWARDS,
        scratch=REWARDS,
        lessons=st.sampled_from([("a",), ("a", "b"), ("b",)]),
        randomised=st.booleans(),
    ),
    max_size=8,
)


@given(log=LOGS, decay=st.floats(0.05, 1.0))
def test_bounds_are_ordered_and_in_range(log: list[Exposure], decay: float):
    ledger = booked(*log, decay=decay)
    for lesson, found in ledger.table().items():
        assert 0.0 <= found.low <= found.mean <= found.high <= 1.0
        assert found.mean == ledger.mean(lesson)
        assert ledger.upper_bound(lesson, min_exposures=1) == found.high
        assert -1.0 <= found.uplift_low <= found.uplift_high <= 1.0
        assert (found.uplift is None) == (found.evidence == "none")
        if found.uplift is not None:
            assert found.uplift_low - 1e-9 <= found.uplift <= found.uplift_high + 1e-9


@given(log=LOGS, order=st.randoms(use_true_random=False))
def test_the_order_of_bookings_does_not_touch_the_uplift(log: list[Exposure], order):
    shuffled = list(log)
    order.shuffle(shuffled)
    table, other = booked(*log).table(), booked(*shuffled).table()
    assert table.keys() == other.keys()
    for lesson, a in table.items():
        b = other[lesson]
        assert (a.evidence, a.shared) == (b.evidence, b.shared)
        assert a.uplift == pytest.approx(b.uplift, abs=1e-9)
        # A variance of rounding errors, instead of none, shows in the square root.
        assert a.uplift_low == pytest.approx(b.uplift_low, abs=1e-6)
        assert a.uplift_high == pytest.approx(b.uplift_high, abs=1e-6)


@settings(max_examples=50)
@given(log=LOGS)
def test_arms_swapped_is_the_uplift_negated(log: list[Exposure]):
    swapped = [e.model_copy(update={"guided": e.scratch, "scratch": e.guided}) for e in log]
    table, other = booked(*log).table(), booked(*swapped).table()
    for lesson, found in table.items():
        if found.uplift is not None:
            assert other[lesson].uplift == pytest.approx(-found.uplift)
            assert other[lesson].uplift_high == pytest.approx(-found.uplift_low, abs=1e-6)


# ---------------------------------------------------------------------- what 95 % is worth

Difficulty = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

DIFFICULTIES: dict[str, Difficulty] = {
    "uniform": lambda rng, shape: rng.random(shape),
    "mostly easy or hard": lambda rng, shape: rng.beta(0.3, 0.3, shape),
    "two kinds": lambda rng, shape: rng.choice([0.05, 0.9], shape),
    "nearly hopeless": lambda rng, shape: rng.beta(0.2, 2.0, shape),
}
EFFECTS: dict[str, Difficulty] = {
    "none": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.full(shape, 0.2),
    "on some problems": lambda rng, shape: rng.choice([-0.1, 0.6], shape),
}
LESSONS = 700


def simulate(
    seed: int, groups: int, difficulty: Difficulty, effect: Difficulty
) -> tuple[list[Utility], np.ndarray]:
    """Book lessons with known effects on their own groups; return records and true uplifts."""
    rng = np.random.default_rng(seed)
    shape = (LESSONS, groups)
    chance = difficulty(rng, shape)
    helped = np.clip(chance + effect(rng, shape), 0.0, 1.0)
    guided_n = rng.integers(1, 8, shape)
    scratch_n = 8 - guided_n
    guided, scratch = rng.binomial(guided_n, helped), rng.binomial(scratch_n, chance)
    ledger = UtilityLedger()
    for index in np.ndindex(shape):
        g, s = int(guided_n[index]), int(scratch_n[index])
        won, lost = int(guided[index]), int(scratch[index])
        ledger.book(
            [
                exposure(
                    (1.0,) * won + (0.0,) * (g - won),
                    (1.0,) * lost + (0.0,) * (s - lost),
                    lessons=(f"{index[0]}",),
                )
            ]
        )
    weights = guided_n * scratch_n
    truth = (weights * (helped - chance)).sum(1) / weights.sum(1)
    table = ledger.table()
    return [table[f"{lesson}"] for lesson in range(LESSONS)], truth


@pytest.mark.parametrize("groups", [1, 3, 12])
@pytest.mark.parametrize("effect", EFFECTS)
def test_the_interval_covers_the_true_uplift(effect: str, groups: int):
    hits: list[bool] = []
    for seed, difficulty in enumerate(DIFFICULTIES.values()):
        found, truth = simulate(seed, groups, difficulty, EFFECTS[effect])
        hit = [u.uplift_low <= t <= u.uplift_high for u, t in zip(found, truth, strict=True)]
        assert np.mean(hit) >= 0.93, "700 lessons: the standard error is 0.008"
        hits += hit
    assert np.mean(hits) >= 0.94


def one_half(_: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Every group at the point where chance varies most."""
    return np.full(shape, 0.5)


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_a_lesson_without_effect_is_rarely_called_one_with(groups: int):
    for seed, difficulty in enumerate([*DIFFICULTIES.values(), one_half]):
        found, _ = simulate(100 + seed, groups, difficulty, EFFECTS["none"])
        called = np.mean([u.uplift_low > 0 or u.uplift_high < 0 for u in found])
        assert called <= 0.06


def test_a_lesson_that_helps_is_found():
    found, _ = simulate(7, 20, DIFFICULTIES["uniform"], EFFECTS["constant"])
    assert np.mean([u.uplift_low > 0 for u in found]) > 0.4


# ---------------------------------------------------------------------- size


def test_accounts_do_not_grow_with_their_evidence():
    ledger = UtilityLedger()
    log = [
        exposure((1.0, 0.3), (0.0, 0.7), lessons=tuple(f"{i}" for i in range(j, 1000, 7)))
        for j in range(7)
    ]
    tracemalloc.start()
    try:
        ledger.book(log * 2)
        early = tracemalloc.get_traced_memory()[0]
        ledger.book(log * 4)  # by now every number of an account is one of its own
        settled = tracemalloc.get_traced_memory()[0]
        ledger.book(log * 32)
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert early < 1_000 * 750, "bytes, for 1,000 lessons"
    assert late < 1.02 * settled
