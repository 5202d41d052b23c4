# SPDX-License-Identifier: Apache-2.0
"""Another kind of convolution in place of the dense layers: same shapes, new weights."""

from typing import Any

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.errors import ArgumentError, UnsupportedError


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.Sequential(nn.Conv2d(8, 8, 5, padding=4, dilation=2), nn.Conv2d(8, 8, 1)),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        cs.Conv2d(8, 6, 3, padding="same"),
    )


@pytest.mark.parametrize(
    "to", ["depthwise_separable", "depthwise separable", "spatially_separable"]
)
def test_shapes_stay_and_other_layers_too(to: str) -> None:
    model: Any = network()
    swapped: Any = cs.swap(model, to)
    x = torch.randn(2, 4, 17, 20)
    assert swapped(x).shape == model(x).shape
    kind = getattr(cs, to.title().replace("_", "").replace(" ", "") + "Conv2d")
    assert [type(m) is kind for m in (swapped[0], swapped[1][0], swapped[3])] == [True] * 3
    assert type(swapped[1][1]) is type(swapped[2]) is nn.Conv2d
    assert sum(p.dim() == 1 for p in swapped[0].parameters()) == 0  # no bias, as before
    assert type(model[0]) is nn.Conv2d


def test_a_published_network_gets_cheaper() -> None:
    model = cs.models.create("digits_vgg")
    swapped = cs.swap(model, "depthwise_separable", where=lambda name, layer: name != "features.0")
    shape = (1, 1, 32, 32)
    assert cs.analyze(swapped, shape).total.macs.all < cs.analyze(model, shape).total.macs.all / 3
    assert swapped(torch.zeros(shape)).shape == (1, 10)
    assert not any(module.training for module in swapped.modules())


def test_options_dtype_and_a_model_that_is_a_layer() -> None:
    swapped = cs.swap(nn.Conv1d(2, 4, 3, dtype=torch.float64), depth_multiplier=3)
    assert type(swapped) is cs.DepthwiseSeparableConv1d
    shapes = [tuple(p.shape) for p in swapped.parameters()]
    assert (6, 1, 3) in shapes
    assert {p.dtype for p in swapped.parameters()} == {torch.float64}


def test_a_shared_layer_stays_shared() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    swapped: Any = cs.swap(nn.Sequential(layer, nn.ReLU(), layer))
    assert swapped[0] is swapped[2]
    assert type(swapped[0]) is cs.DepthwiseSeparableConv2d


def test_what_cannot_be_swapped_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"there is no kind 'square'; choose one of"):
        cs.swap(network(), "square")
    with pytest.raises(ArgumentError, match=r"Sequential has no dense convolution to swap"):
        cs.swap(network(), where=lambda name, layer: False)
    with pytest.raises(UnsupportedError, match=r"swap: 0 \(Conv2d\(4, 8.* cannot be a Local"):
        cs.swap(network(), "locally_connected")
    with pytest.raises(UnsupportedError, match=r"as a Involution2d gives maps of another shape"):
        cs.swap(nn.Sequential(nn.Conv2d(16, 16, 3)), "involution")
    with pytest.raises(
        UnsupportedError, match=r"swap: the model has 1 axes, and this kind has none"
    ):
        cs.swap(nn.Conv1d(4, 4, 3), "spatially_separable")
