# SPDX-License-Identifier: Apache-2.0
"""Dilated convolution: its span, and the holes that a chain of dilations leaves."""

import pytest
import torch

import convsmith as cs
from convsmith.family import recognize
from convsmith.geometry import Axis, hybrid_dilation, touched


@pytest.mark.parametrize(("dilation", "span"), [(1, 3), (2, 5), (4, 9)])
def test_three_taps_span(dilation: int, span: int) -> None:
    layer = cs.Conv1d(1, 1, 3, dilation=dilation)
    assert layer.geometry.axes((span,))[0].span == span
    assert layer(torch.zeros(1, 1, span)).shape == (1, 1, 1)
    assert layer.geometry.cone((1, 1, span))[0].size == span


def test_seven_by_seven_gives_three_by_three() -> None:
    layer = cs.Conv2d(1, 1, 3, dilation=2, bias=False)
    assert layer(torch.zeros(1, 1, 7, 7)).shape == (1, 1, 3, 3)
    assert layer.geometry.output_shape((1, 1, 7, 7)) == (1, 1, 3, 3)
    assert layer.geometry.macs((1, 1, 7, 7)).all == 81


@pytest.mark.parametrize(
    ("dilations", "seen", "span"),
    [
        ((2, 2, 2), 7, 13),
        ((2, 4, 8), 15, 29),
        ((1, 2, 5), 17, 17),
        ((1, 2, 3), 13, 13),
        ((2, 3), 9, 11),
        ((1, 3, 1), 11, 11),
    ],
)
def test_the_positions_a_chain_touches(dilations: tuple[int, ...], seen: int, span: int) -> None:
    """The exact set, and the same set from the gradient of the chain of layers itself."""
    positions = touched([Axis(3, dilation=d) for d in dilations])
    assert (len(positions), positions[-1] - positions[0] + 1) == (seen, span)
    chain = torch.nn.Sequential(*(cs.Conv1d(1, 1, 3, dilation=d, bias=False) for d in dilations))
    for parameter in chain.parameters():
        torch.nn.init.ones_(parameter)
    x = torch.zeros(1, 1, span, requires_grad=True)
    chain(x).sum().backward()
    assert x.grad is not None
    assert tuple(x.grad[0, 0].nonzero().flatten().tolist()) == positions


@pytest.mark.parametrize(
    ("dilations", "second", "within", "passes"),
    [
        ((2, 2, 2), 2, True, False),
        ((2, 4, 8), 4, False, False),
        ((1, 2, 5), 2, True, True),
        ((1, 2, 3), 2, True, True),
        ((2, 3), 3, True, False),
        ((1, 3, 1), 5, False, False),
    ],
)
def test_the_rule_of_hybrid_dilation(
    dilations: tuple[int, ...], second: int, within: bool, passes: bool
) -> None:
    rule = hybrid_dilation(3, dilations)
    assert rule.max_distances[1] == second
    assert rule.within_kernel is within
    assert rule.passes is passes


def test_the_dilation_of_a_single_tap_is_no_dilation() -> None:
    assert recognize(cs.Conv2d(2, 3, (1, 3), dilation=(2, 1)).geometry).name == "standard"
    assert recognize(cs.Conv2d(2, 3, (1, 3), dilation=(1, 2)).geometry).name == "dilated"


def test_every_phase_is_a_plain_convolution() -> None:
    """Rows and columns of one remainder never meet the others: each phase image is convolved by
    the undilated kernel.
    """
    x = torch.randint(-4, 5, (1, 2, 10, 11)).float()
    weight = torch.randint(-4, 5, (3, 2, 3, 3)).float()
    y = cs.conv2d(x, weight, dilation=2)
    for row in range(2):
        for column in range(2):
            phase = cs.conv2d(x[..., row::2, column::2], weight)
            assert torch.equal(y[..., row::2, column::2], phase)
