# SPDX-License-Identifier: Apache-2.0
"""Depthwise separable convolution: two layers in Keras' order, with MobileNet's norms if asked."""

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.convs.depthwise_separable.separable_geometry import DepthwiseSeparableGeometry
from convsmith.errors import ShapeError

MOBILE = {"bias": False, "norm": nn.BatchNorm2d, "activation": nn.ReLU6}


def integer_weights(layer: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    return layer


def test_256_filters_of_five_by_five() -> None:
    shape = (1, 3, 12, 12)
    geometry = cs.DepthwiseSeparableConv2d(3, 256, 5, bias=False).geometry
    assert geometry.output_shape(shape) == (1, 256, 8, 8)
    assert geometry.depthwise.macs(shape).all == 4_800
    assert geometry.pointwise.macs((1, 3, 8, 8)).all == 49_152
    assert geometry.macs(shape).all == 53_952
    standard = cs.Conv2d(3, 256, 5, bias=False).geometry.macs(shape).all
    assert standard == 1_228_800
    assert round(standard / 53_952, 1) == 22.8


def test_weights_of_16_to_32_channels() -> None:
    separable, standard = (
        kind(16, 32, 3, bias=False) for kind in (cs.DepthwiseSeparableConv2d, cs.Conv2d)
    )
    assert [p.numel() for p in separable.parameters()] == [144, 512]
    assert sum(p.numel() for p in standard.parameters()) == 4_608


def test_seven_by_seven_by_three_to_128_channels() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 128, 3)
    x = torch.zeros(1, 3, 7, 7)
    assert layer.depthwise(x).shape == (1, 3, 5, 5)
    assert layer(x).shape == (1, 128, 5, 5)


def test_a_multiplier_of_two_doubles_the_channels_between() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, padding=1, depth_multiplier=2)
    x = torch.zeros(1, 3, 8, 8)
    assert layer.depthwise(x).shape == (1, 6, 8, 8)
    assert layer(x).shape == (1, 4, 8, 8)
    assert layer.geometry.depth_multiplier == 2
    with pytest.raises(ShapeError, match="depth_multiplier: 0 must be at least 1"):
        DepthwiseSeparableGeometry(
            in_channels=3, out_channels=4, kernel_size=(3, 3), depth_multiplier=0
        )


def test_the_state_dict_is_two_weights_and_a_bias() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, depth_multiplier=2)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {
        "depthwise.weight": (6, 1, 3, 3),
        "pointwise.weight": (4, 6, 1, 1),
        "pointwise.bias": (4,),
    }


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_it_is_a_depthwise_then_a_pointwise_layer(multiplier: int) -> None:
    options = {"stride": 2, "padding": "same", "dilation": (1, 2)}
    layer = integer_weights(
        cs.DepthwiseSeparableConv2d(3, 5, (3, 2), depth_multiplier=multiplier, **options)
    )
    depthwise = cs.DepthwiseConv2d(3, (3, 2), depth_multiplier=multiplier, bias=False, **options)
    pointwise = cs.PointwiseConv2d(3 * multiplier, 5)
    depthwise.weight = layer.depthwise.weight
    pointwise.weight, pointwise.bias = layer.pointwise.weight, layer.pointwise.bias
    x = torch.randint(-4, 5, (2, 3, 9, 8)).float()
    assert torch.equal(layer(x), pointwise(depthwise(x)))


def test_it_is_a_standard_convolution_with_a_factored_kernel() -> None:
    layer = integer_weights(cs.DepthwiseSeparableConv2d(3, 5, 3, padding=1, depth_multiplier=2))
    windows = layer.depthwise.weight.reshape(1, 3, 2, 3, 3)
    mixing = layer.pointwise.weight.reshape(5, 3, 2, 1, 1)
    x = torch.randint(-4, 5, (2, 3, 6, 7)).float()
    dense = cs.conv2d(x, (windows * mixing).sum(2), layer.pointwise.bias, padding=1)
    assert torch.equal(layer(x), dense)


def test_keras_example() -> None:
    """Two channels by [1, 2] and [3, 4], two filters each of length 2; worked by hand."""
    x = torch.tensor([[[1.0, 0, 2], [0, 1, 1]]])
    depthwise = torch.tensor([[[1.0, 2]], [[3.0, 0]], [[0.0, 1]], [[2.0, -1]]])
    between = [[1.0, 4], [3, 0], [1, 1], [-1, 1]]
    assert cs.depthwise_conv1d(x, depthwise)[0].tolist() == between
    pointwise = torch.tensor([[1.0, 1, 1, 1], [0, 0, 2, 1]])[..., None]
    y = cs.depthwise_separable_conv1d(x, depthwise, pointwise, torch.tensor([10.0, 20]))
    assert y[0].tolist() == [[14.0, 16], [21, 23]]


def test_norm_and_activation_follow_both_steps() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, stride=2, padding=1, depth_multiplier=2, **MOBILE)
    by_hand = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.Conv2d(6, 4, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
    )
    by_hand.load_state_dict(
        dict(zip(by_hand.state_dict(), layer.state_dict().values(), strict=True))
    )
    x = torch.randn(3, 3, 9, 8)
    assert torch.equal(layer(x), by_hand(x))
    assert torch.equal(layer.eval()(x), by_hand.eval()(x))
    names = {name.split(".")[0] for name in layer.state_dict()}
    assert names == {"depthwise", "depthwise_norm", "pointwise", "pointwise_norm"}


def test_an_activation_alone_stands_after_both_steps() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, activation=nn.ReLU)
    x = torch.randn(2, 3, 6, 5)
    assert torch.equal(layer(x), layer.pointwise(layer.depthwise(x).relu()).relu())


def test_norms_are_where_the_weights_are() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, **MOBILE, device="meta", dtype=torch.float64)
    assert {p.device.type for p in layer.parameters()} == {"meta"}
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_pad_the_first_step(mode: str) -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 4, 3, padding=1, padding_mode=mode)
    x = torch.randn(2, 3, 6, 5)
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode=mode)
    plain = cs.DepthwiseSeparableConv2d(3, 4, 3)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(padded))
