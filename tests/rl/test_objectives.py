"""Advantages against groups computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lanpo_rl.objectives import distill_advantages, halves_advantages, zero_variance

EPS = 1e-4
HALF = torch.tensor([[False, False, False, False, True, True, True, True]])


def rewards(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def test_each_half_is_normalised_by_its_own_mean_and_deviation():
    # scratch 0 0 0 1: mean 1/4, deviation 1/2; guided 1 1 0 1: mean 3/4, deviation 1/2
    got = halves_advantages(rewards(0, 0, 0, 1, 1, 1, 0, 1), HALF)
    expected = [-0.25, -0.25, -0.25, 0.75, 0.25, 0.25, -0.75, 0.25]
    assert got[0].tolist() == pytest.approx([x / (0.5 + EPS) for x in expected])


def test_without_scaling_only_the_mean_is_taken_off():
    got = halves_advantages(rewards(0, 0, 0, 1, 1, 1, 0, 1), HALF, scale=False)
    assert got[0].tolist() == pytest.approx([-0.25, -0.25, -0.25, 0.75, 0.25, 0.25, -0.75, 0.25])


def test_a_group_of_one_kind_gets_plain_grpo():
    values = rewards(0, 0, 1, 0, 0, 0, 0, 1)
    mean, std = values.mean(), values.std()
    for mask in (torch.zeros_like(HALF), torch.ones_like(HALF)):
        torch.testing.assert_close(halves_advantages(values, mask), (values - mean) / (std + EPS))


def test_a_half_without_variance_gets_nothing():
    got = halves_advantages(rewards(0, 0, 0, 0, 1, 1, 1, 1), HALF)
    assert not got.any()


def test_distilling_weighs_what_beats_the_scratch_mean():
    # scratch mean 1/4; all eight: 4 of 8 right, deviation sqrt(8/7 * 1/4)
    got = distill_advantages(rewards(0, 0, 0, 1, 1, 1, 0, 1), HALF, weight=3.0)
    each = 3 * 0.75 / (math.sqrt(2 / 7) + EPS)
    assert got[0].tolist() == pytest.approx([0, 0, 0, 0, each, each, 0, each])


def test_an_all_right_guided_half_still_distils_though_it_has_no_in_context_gradient():
    values = rewards(0, 0, 0, 0, 1, 1, 1, 1)
    assert not halves_advantages(values, HALF).any()
    assert (distill_advantages(values, HALF, weight=1.0)[HALF] > 1).all()


def test_nothing_is_distilled_where_guidance_did_not_help():
    assert not distill_advantages(rewards(1, 1, 1, 1, 1, 1, 0, 1), HALF, weight=3.0).any()
    assert not distill_advantages(rewards(0, 0, 0, 0, 0, 0, 0, 0), HALF, weight=3.0).any()
    nobody = torch.zeros_like(HALF)
    assert not distill_advantages(rewards(0, 0, 0, 1, 1, 1, 0, 1), nobody, weight=3.0).any()


def test_a_group_without_scratch_rollouts_takes_the_given_baseline_unscaled():
    everyone = torch.ones_like(HALF)
    got = distill_advantages(
        rewards(0, 0, 0, 0, 1, 1, 1, 1), everyone, weight=2.0, baseline_P=torch.tensor([0.25])
    )
    assert got[0].tolist() == pytest.approx([0, 0, 0, 0, 1.5, 1.5, 1.5, 1.5])


def test_unscored_rollouts_count_for_nothing():
    values = rewards(0, math.nan, 0, 1, math.nan, 1, 0, 1)
    got = halves_advantages(values, HALF)
    assert got[0, 1] == got[0, 4] == 0
    # scratch 0 0 1: mean 1/3, deviation sqrt(1/3)
    assert got[0, 3].item() == pytest.approx((2 / 3) / (math.sqrt(1 / 3) + EPS))
    distilled = distill_advantages(values, HALF, weight=1.0)
    assert distilled[0, 4] == 0
    assert distilled[0, 5] > 0
    assert not torch.isnan(distilled).any()


def test_groups_do_not_mix():
    two = torch.cat([rewards(0, 0, 0, 1, 1, 1, 0, 1), rewards(1, 1, 1, 1, 0, 0, 0, 0)])
    masks = torch.cat([HALF, HALF])
    together = halves_advantages(two, masks)
    torch.testing.assert_close(together[:1], halves_advantages(two[:1], HALF))
    torch.testing.assert_close(together[1:], halves_advantages(two[1:], HALF))


def test_zero_variance_counts_guided_halves_only():
    values = torch.cat([rewards(0, 1, 0, 1, 1, 1, 1, 1), rewards(0, 0, 0, 0, 1, 0, 1, 1)])
    masks = torch.cat([HALF, HALF])
    assert zero_variance(values, masks).tolist() == [True, False]
    assert zero_variance(values, torch.zeros_like(masks)).tolist() == [False, False]
