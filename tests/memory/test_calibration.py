from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanpo_memory import Experience, ExperiencePool, Guide, Problem, open_pool
from lanpo_memory.calibration import (
    Calibration,
    calibrate_gamma,
    fit_gamma,
    load_calibration,
    store_calibration,
)
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.relevance import CosineRelevance
from lanpo_memory.testing import HashingEmbedder

WORDS = [
    "red",
    "green",
    "ripe",
    "apples",
    "pears",
    "plums",
    "figs",
    "box",
    "tree",
    "table",
    "market",
    "basket",
    "eats",
    "buys",
    "sells",
]
_random = random.Random(0)
TEXTS = [
    f"{i} {' '.join(_random.sample(WORDS, _random.randint(4, 10)))} {_random.randint(1, 9)}"
    for i in range(60)
]


def filled(pool: ExperiencePool) -> ExperiencePool:
    pool.add([Experience(problem=Problem(text=t), thoughts=f"about {t}") for t in TEXTS])
    return pool


@given(
    best=st.lists(st.floats(0, 1), min_size=1, max_size=60),
    target=st.floats(0.01, 1.0),
)
def test_gamma_is_the_largest_that_reaches_the_target(best: list[float], target: float):
    found = fit_gamma(best, target=target, fingerprint="f")
    assert found.hit_rate >= target - 1e-9
    assert found.hit_rate == sum(b >= found.gamma for b in best) / len(best)
    stricter = found.gamma + 2e-4
    assert sum(b >= stricter for b in best) / len(best) < target or stricter > 1
    rates = [rate for _, rate in found.curve]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0


def test_a_target_that_cannot_be_had_is_said_by_the_hit_rate():
    found = fit_gamma([0.5, 0.2, -1.0, -1.0], target=0.9, fingerprint="f")
    assert (found.gamma, found.hit_rate, found.curve[0]) == (0.0, 0.5, (0.0, 0.5))


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01, float("nan")])
def test_a_target_is_a_share(target: float):
    with pytest.raises(ConfigError, match="target"):
        fit_gamma([0.5], target=target, fingerprint="f")


@pytest.mark.parametrize("target", [0.25, 0.5, 0.9])
def test_a_guide_with_the_calibrated_gamma_hits_as_often_as_wanted(tmp_path: Path, target: float):
    with open_pool(tmp_path / "pool.db") as pool:
        guide = Guide(filled(pool), gamma=0.99)
        found = calibrate_gamma(guide, target=target)
        assert found.queries == len(TEXTS)
        assert guide.gamma == 0.99  # a guide keeps what it was given
    with open_pool(tmp_path / "pool.db") as pool:
        calibrated = Guide(pool)
        assert calibrated.gamma == pool.default_gamma == found.gamma
        hits = [g.hit for g in calibrated.inter([Problem(text=t) for t in TEXTS])]
        assert sum(hits) / len(hits) == pytest.approx(found.hit_rate)
        assert found.hit_rate == pytest.approx(target, abs=0.1)


def test_a_gamma_that_misses_its_target_is_not_kept():
    pool = ExperiencePool()
    pool.add([Experience(problem=Problem(text="a lonely problem 7"), thoughts="t")])
    assert calibrate_gamma(Guide(pool), target=0.5).hit_rate == 0.0
    assert Guide(pool).gamma == pool.retriever.default_gamma


def test_a_problem_never_counts_as_its_own_guidance():
    pool = ExperiencePool()
    pool.add([Experience(problem=Problem(text="a lonely problem 7"), thoughts="t")])
    found = calibrate_gamma(Guide(pool), [Problem(text="A lonely problem: 7")])
    assert found.curve[1] == (0.05, 0.0)


def test_calibrations_belong_to_one_scorer_and_one_namespace(tmp_path: Path):
    with (
        open_pool(tmp_path / "pool.db") as pool,
        open_pool(tmp_path / "pool.db", namespace="b") as b,
    ):
        filled(pool)
        filled(b)
        scorer = CosineRelevance(HashingEmbedder())
        lexical = calibrate_gamma(Guide(pool), target=0.5)
        cosine = calibrate_gamma(Guide(pool, relevance=scorer), target=0.5)
        assert lexical.gamma != cosine.gamma
        assert Guide(pool).gamma == lexical.gamma
        assert Guide(pool, relevance=scorer).gamma == cosine.gamma
        assert Guide(pool, gamma=0.42).gamma == 0.42
        assert Guide(b).gamma == b.retriever.default_gamma


def test_it_can_be_looked_at_without_being_kept():
    pool = filled(ExperiencePool())
    calibrate_gamma(Guide(pool), target=0.5, save=False)
    assert load_calibration(pool.store, pool.retriever.fingerprint) is None
    assert Guide(pool).gamma == pool.retriever.default_gamma


def test_an_empty_pool_cannot_be_calibrated():
    with pytest.raises(InvalidInputError, match="there are none"):
        calibrate_gamma(Guide(ExperiencePool()))


def test_what_is_kept_comes_back_and_what_is_garbled_counts_as_nothing():
    pool = ExperiencePool()
    made = Calibration(
        fingerprint="f", gamma=0.3, hit_rate=0.5, target=0.5, queries=9, curve=((0.0, 1.0),)
    )
    store_calibration(pool.store, made)
    assert load_calibration(pool.store, "f") == made
    pool.store.cache([("gamma:default:f", b"{")])
    assert load_calibration(pool.store, "f") is None
