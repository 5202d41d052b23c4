# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution: a fully connected layer at every position, and what is built on it."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith.errors import ShapeError
from convsmith.family import recognize


@pytest.mark.parametrize(
    ("channels", "outputs", "size"), [(64, 128, 32), (100, 20, 500), (32, 1, 36)]
)
def test_only_the_channels_change(channels: int, outputs: int, size: int) -> None:
    geometry = cs.PointwiseConv2d(channels, outputs, device="meta").geometry
    shape = (2, channels, size, size)
    assert geometry.output_shape(shape) == (2, outputs, size, size)
    macs = geometry.macs(shape)
    assert macs.all == macs.live == 2 * channels * outputs * size * size


def test_a_window_then_a_projection() -> None:
    """36x36x3 to 36x36x32 by 3x3 with padding 1, then to 36x36x1."""
    layers = nn.Sequential(cs.Conv2d(3, 32, 3, padding=1), cs.PointwiseConv2d(32, 1))
    shapes = []
    x = torch.zeros(1, 3, 36, 36)
    for layer in layers:
        x = layer(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(1, 32, 36, 36), (1, 1, 36, 36)]


def test_it_is_a_fully_connected_layer_at_every_position() -> None:
    weight, bias = torch.tensor([[0.0, 1, 1], [2, 3, 5]]), torch.tensor([8.0, 13])
    layer = cs.PointwiseConv2d(3, 2)
    layer.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
    assert sum(p.numel() for p in layer.parameters()) == 8
    x = torch.randint(-9, 10, (4, 3, 5, 6)).float()
    connected = nn.functional.linear(x.movedim(1, -1), weight, bias).relu().movedim(-1, 1)
    assert torch.equal(layer(x).relu(), connected)


def test_a_larger_kernel_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"weight \(4, 3, 1, 3\) has a kernel of \(1, 3\)"):
        cs.pointwise_conv2d(torch.zeros(1, 3, 5, 5), torch.zeros(4, 3, 1, 3))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (cs.Conv2d(2, 3, 1, padding="same", stride=2), "pointwise"),
        (cs.Conv2d(2, 3, 1, dilation=2), "pointwise"),
        (cs.Conv2d(2, 3, 1, padding=1), "standard"),
        (cs.Conv2d(2, 3, (1, 2)), "standard"),
        (cs.Conv2d(4, 6, 1, groups=2), "grouped"),
    ],
)
def test_what_counts_as_pointwise(layer: cs.Conv2d, name: str) -> None:
    assert recognize(layer.geometry).name == name


def test_mlp_convolution_is_a_pointwise_cascade() -> None:
    layer = cs.MLPConv2d(3, 6, 5, mlp_channels=(8, 7), stride=2, padding="same")
    x = torch.randn(2, 3, 11, 10)
    by_hand = cs.conv2d(x, layer.conv.weight, layer.conv.bias, 2, "same").relu()
    for step in (layer.pointwise1, layer.pointwise2):
        by_hand = cs.pointwise_conv2d(by_hand, step.weight, step.bias).relu()
    assert torch.equal(layer(x), by_hand)
    assert by_hand.shape == (2, 6, 6, 5)
    assert [tuple(p.shape[:2]) for p in layer.parameters() if p.ndim == 4] == [
        (8, 3),
        (7, 8),
        (6, 7),
    ]


def test_mlp_convolution_has_two_pointwise_layers_unless_told() -> None:
    weights = [name for name in cs.MLPConv2d(3, 4, 3).state_dict() if name.endswith("weight")]
    assert weights == ["conv.weight", "pointwise1.weight", "pointwise2.weight"]
    alone = cs.MLPConv2d(3, 4, 3, mlp_channels=(), activation=nn.Identity)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(alone(x), alone.conv(x))


INCEPTION_3A = (192, 64, 96, 128, 16, 32, 32)


@pytest.mark.parametrize(("reduce", "macs"), [(True, 128_049_152), (False, 308_281_344)])
def test_inception_3a_with_and_without_reductions(reduce: bool, macs: int) -> None:
    module = cs.InceptionModule(*INCEPTION_3A, reduce=reduce, device="meta")
    shape = (1, 192, 28, 28)
    with FlopCounterMode(display=False) as torch_flops:
        y = module(torch.zeros(shape, device="meta"))
    assert tuple(y.shape) == (1, module.out_channels, 28, 28) == (1, 256, 28, 28)
    assert module.macs(shape).all == macs == torch_flops.get_total_flops() // 2
    assert module.macs(shape).live < macs
    assert module.macs(shape[1:]) == module.macs(shape)


def test_inception_branches_stand_side_by_side() -> None:
    module = cs.InceptionModule(3, 2, 4, 5, 1, 3, 2)
    x = torch.randn(2, 3, 7, 6)
    y = module(x)
    start = 0
    for branch in (module.branch_1x1, module.branch_3x3, module.branch_5x5, module.branch_pool):
        part = branch(x)
        assert torch.equal(y[:, start : start + part.shape[1]], part)
        start += part.shape[1]
    assert start == y.shape[1] == module.out_channels == 12
    torch.testing.assert_close(module(x[0]), y[0])


def test_inception_refuses_the_shape_of_another_input() -> None:
    with pytest.raises(ShapeError, match="has 3 channels, expected 192"):
        cs.InceptionModule(*INCEPTION_3A, device="meta").macs((1, 3, 28, 28))


def test_the_mask_is_a_squashed_projection() -> None:
    mask = cs.ProjectionMask(32)
    assert mask.map is None
    x = torch.randn(2, 32, 36, 36, requires_grad=True)
    y = mask(x)
    assert y.shape == (2, 1, 36, 36)
    assert torch.equal(y, torch.sigmoid(mask.projection(torch.tanh(x))))
    assert y.requires_grad
    assert mask.map is not None
    assert not mask.map.requires_grad
    assert torch.equal(mask.map, y)


def test_the_map_is_for_viewing_only() -> None:
    mask = cs.ProjectionMask(3)
    x = torch.randn(1, 3, 4, 5)
    y = mask(x)
    assert list(mask.state_dict()) == ["projection.weight", "projection.bias"]
    for again in (copy.deepcopy(mask), pickle.loads(pickle.dumps(mask))):
        assert again.map is None
        assert torch.equal(again(x), y)
    assert mask.map is not None


def test_the_mask_compiles_and_exports() -> None:
    mask = cs.ProjectionMask(3)
    x = torch.randn(1, 3, 4, 5)
    exported = torch.export.export(mask, (x,), strict=False).module()
    assert mask.map is None
    assert torch.equal(exported(x), mask(x))
    torch._dynamo.reset()
    fresh = cs.ProjectionMask(3)
    y = torch.compile(fresh, fullgraph=True, backend="aot_eager")(x)
    assert fresh.map is not None
    assert torch.equal(fresh.map, y)
