# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution: channels that never mix, and the depth multiplier."""

import pytest
import torch

import convsmith as cs
from convsmith.errors import ArgumentError, ShapeError
from convsmith.family import families, recognize


def test_five_by_five_over_three_channels() -> None:
    layer = cs.DepthwiseConv2d(3, 5, bias=False)
    shape = (1, 3, 12, 12)
    assert layer(torch.zeros(shape)).shape == (1, 3, 8, 8)
    assert layer.geometry.macs(shape).all == 4_800


def test_seven_by_seven_keeps_its_three_channels() -> None:
    assert cs.DepthwiseConv2d(3, 3)(torch.zeros(1, 3, 7, 7)).shape == (1, 3, 5, 5)


def test_the_depth_multiplier_is_the_filters_of_a_channel() -> None:
    layer = cs.DepthwiseConv2d(3, 3, padding=1, depth_multiplier=2)
    assert layer.depth_multiplier == 2
    assert layer.weight.shape == (6, 1, 3, 3)
    x = torch.zeros(1, 3, 8, 8)
    assert layer(x).shape == (1, 6, 8, 8)
    x[:, 1] = 1
    reached = (layer(x) - layer(torch.zeros_like(x))).abs().sum((0, 2, 3)).nonzero().flatten()
    assert reached.tolist() == [2, 3]
    picture = families()["depthwise"].picture
    assert picture is not None
    assert picture(layer.geometry).channels == ((0,), (0,), (1,), (1,), (2,), (2,))


def test_it_is_the_diagonal_of_a_dense_convolution() -> None:
    weight = torch.randint(-4, 5, (3, 1, 3, 3)).float()
    dense = torch.zeros(3, 3, 3, 3)
    dense[range(3), range(3)] = weight[:, 0]
    options = {"stride": 2, "padding": ((0, 1), (2, 1)), "dilation": (1, 2)}
    x = torch.randint(-4, 5, (2, 3, 9, 8)).float()
    y = cs.depthwise_conv2d(x, weight, **options)
    assert torch.equal(y, cs.conv2d(x, dense, **options))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same"])
def test_padding_modes_are_those_of_torch(mode: str, padding: int | str) -> None:
    layer = cs.DepthwiseConv2d(3, 3, padding=padding, padding_mode=mode)
    twin = torch.nn.Conv2d(3, 3, 3, padding=padding, groups=3, padding_mode=mode)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 6, 5)
    assert torch.equal(layer(x), twin(x))


def test_a_single_channel_is_a_standard_convolution() -> None:
    assert recognize(cs.DepthwiseConv2d(1, 3).geometry).name == "standard"
    assert recognize(cs.Conv2d(2, 4, 1, groups=2).geometry).name == "depthwise"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"depth_multiplier": 0}, ShapeError, "depth_multiplier: 0 must be at least 1"),
        ({"depth_multiplier": 1.5}, ArgumentError, "depth_multiplier: 1.5 must be an integer"),
        ({"stride": 0}, ShapeError, "stride: 0 must be at least 1"),
    ],
)
def test_wrong_options(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cs.DepthwiseConv2d(4, 3, **arguments)


def test_wrong_shapes() -> None:
    weight = torch.zeros(10, 1, 3, 3)
    with pytest.raises(ShapeError, match=r"depthwise_conv2d: x \(5, 5\) has 2 dimensions"):
        cs.depthwise_conv2d(torch.zeros(5, 5), weight)
    with pytest.raises(RuntimeError, match="divisible by 4"):
        cs.depthwise_conv2d(torch.zeros(1, 4, 5, 5), weight)
