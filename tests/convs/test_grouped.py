# SPDX-License-Identifier: Apache-2.0
"""Grouped convolution: a quarter of the weights, and parts that never mix."""

import pytest
import torch

import convsmith as cs
from convsmith.errors import ShapeError


def test_four_groups_cost_a_quarter() -> None:
    grouped, dense = (cs.Conv2d(64, 64, 3, padding=1, groups=g) for g in (4, 1))
    shape = (1, 64, 32, 32)
    assert grouped.weight.shape == (64, 16, 3, 3)
    assert 4 * grouped.weight.numel() == dense.weight.numel()
    assert grouped(torch.zeros(shape)).shape == shape
    assert grouped.geometry.macs(shape).all == 9_437_184
    assert 4 * grouped.geometry.macs(shape).all == dense.geometry.macs(shape).all


def test_groups_do_not_mix() -> None:
    layer = cs.Conv2d(4, 4, 3, groups=2, bias=False)
    x = torch.zeros(1, 4, 5, 5)
    x[:, 2:] = 1
    y = layer(x)
    assert torch.count_nonzero(y[:, :2]) == 0
    assert torch.count_nonzero(y[:, 2:]) > 0


def test_channels_must_be_divisible_by_the_groups() -> None:
    with pytest.raises(ShapeError, match="in_channels 5 must be divisible by groups 2"):
        cs.Conv2d(5, 4, 3, groups=2)
    with pytest.raises(ShapeError, match="out_channels 5 must be divisible by groups 2"):
        cs.Conv2d(4, 5, 3, groups=2)
