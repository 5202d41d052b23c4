# SPDX-License-Identifier: Apache-2.0
"""Statistics first, then tiles: equal to the whole image where layers look at all of it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.capture import capture
from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.scanning.sliding import sliding
from convsmith.scanning.statistics import Moments, combined, measured, settled, stages

from ..running_tiles import EVERYTHING, plan_of, run_tiles


class SqueezeExcite(nn.Module):
    """Hu et al. 2018: channels weighted by what the whole map amounts to."""

    def __init__(self, channels, largest=False):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)
        self.largest = largest

    def forward(self, x):
        pooled = x.amax((2, 3), keepdim=True) if self.largest else F.adaptive_avg_pool2d(x, 1)
        return x * self.excite(self.squeeze(pooled).relu()).sigmoid()


class LinearGate(nn.Module):
    """The same with linear layers, on an average without its axes."""

    def __init__(self, channels):
        super().__init__()
        self.gate = nn.Linear(channels, channels)

    def forward(self, x):
        return x * self.gate(x.mean((2, 3))).sigmoid().view(x.size(0), -1, 1, 1)


def conv(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


NETWORKS = {
    "squeeze-excite": [conv(3, 6, 2), SqueezeExcite(6), conv(6, 6), SqueezeExcite(6), conv(6, 2)],
    "largest": [conv(3, 6), SqueezeExcite(6, largest=True), conv(6, 2, 2)],
    "linear gate": [conv(3, 6), LinearGate(6), conv(6, 2)],
    "group norm": [conv(3, 6, 2), nn.GroupNorm(2, 6), nn.ReLU(), conv(6, 6), nn.GroupNorm(3, 6)],
    "instance norm": [conv(3, 4), nn.InstanceNorm2d(4, affine=True), nn.MaxPool2d(2), conv(4, 2)],
    "plain instance norm": [conv(3, 4), nn.InstanceNorm2d(4), conv(4, 2)],
    "a gate on a norm": [conv(3, 4), nn.GroupNorm(1, 4), SqueezeExcite(4), conv(4, 2)],
    "one axis": [nn.Conv1d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv1d(4, 2, 3, 2)],
    "three axes": [nn.Conv3d(3, 4, 3, 2, 1), nn.InstanceNorm3d(4), nn.Conv3d(4, 2, 1)],
}
SIZES = {1: (301,), 2: (67, 82), 3: (25, 30, 29)}


def model_of(name):
    model = copy.deepcopy(nn.Sequential(*NETWORKS[name])).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model, SIZES[model[0].weight.dim() - 2]


def tiles_of(network, size, core):
    slides = sliding(network, 3, size)
    outputs = slides.outputs(size)
    axes = [row[0].cut(*row[1:], core) for row in zip(slides.axes, size, outputs, strict=True)]
    slides.check(axes)
    return plan_of(axes, slides.out_channels)


def moments_by_tiles(image, core, order=lambda numbers: numbers):
    """Moments of a network's map of the image, tile by tile."""

    def moments_of(network):
        plan = tiles_of(network, image.shape[2:], core)
        parts = {}
        for number in order(range(len(plan))):
            tile = plan.tile(number)
            parts[number] = Moments.of(
                network(image[EVERYTHING + tile.read])[EVERYTHING + tile.keep][0]
            )
        assert len(parts) > 1
        return combined(parts)

    return moments_of


IN_FLOAT32 = ("squeeze-excite", "group norm", "instance norm")
CASES = [(name, torch.float64) for name in NETWORKS] + [
    (name, torch.float32) for name in IN_FLOAT32
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_tiles_equal_the_whole_image(name, dtype):
    model, size = model_of(name)
    image = torch.randn(1, 3, *size) + 0.5
    expected = model.double()(image.double())
    model, image = model.to(dtype), image.to(dtype)
    network = capture(model, torch.zeros(1, 3, *[16 for _ in size], dtype=dtype)).module
    with pytest.raises(UnsupportedError, match=r"whole|all"):
        sliding(network, 3, size)
    with torch.no_grad():
        constant = measured(network, moments_by_tiles(image, 13))
        found = run_tiles(constant, tiles_of(constant, size, 11), image)
    # float64: a few thousand roundings; float32: the bound that the issue sets
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    assert (found.double() - expected).abs().max() <= bound * expected.abs().max()


def test_a_batch_of_tiles_and_one_tile_are_alike():
    model, size = model_of("linear gate")
    image = torch.randn(1, 3, *size)
    network = capture(model, torch.zeros(1, 3, 16, 16)).module
    constant = measured(network, moments_by_tiles(image, 13))
    batch = torch.randn(4, 3, 20, 20)
    torch.testing.assert_close(constant(batch)[2:3], constant(batch[2:3]))


def test_stages_are_named_and_end_before_their_layer():
    model, _ = model_of("squeeze-excite")
    network = capture(model, torch.zeros(1, 3, 16, 16)).module
    found = stages(network)
    assert [stage.where for stage in found] == ["1", "3"]
    x = torch.randn(1, 3, 20, 28)
    torch.testing.assert_close(found[0].network(x), model[0](x))
    torch.testing.assert_close(found[1].network(x), model[:3](x))
    assert stages(capture(model[0], x).module) == []


def test_a_layer_that_is_not_named_is_left_alone():
    model, size = model_of("squeeze-excite")
    network = capture(model, torch.zeros(1, 3, 16, 16)).module
    x = torch.randn(1, 3, *size)
    assert torch.equal(settled(network, {})(x), network(x))


def test_the_network_given_is_not_changed():
    model, size = model_of("group norm")
    network = capture(model, torch.zeros(1, 3, 16, 16)).module
    code, names = network.code, set(network.state_dict())
    measured(network, moments_by_tiles(torch.randn(1, 3, *size), 13))
    assert (network.code, set(network.state_dict())) == (code, names)


@pytest.mark.parametrize(
    "layer",
    [
        nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.InstanceNorm2d(4, track_running_stats=True),
    ],
)
def test_other_layers_are_no_stage(layer):
    model = nn.Sequential(conv(3, 4), layer).eval()
    assert stages(capture(model, torch.zeros(1, 3, 16, 16)).module) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda tile: (slice(None),) * len(tile.keep),  # the halos counted, too
        lambda tile: tuple(slice(k.start, k.stop - 1) for k in tile.keep),  # not all positions
    ],
    ids=["halos counted twice", "a row forgotten"],
)
def test_planted_faults_are_seen(fault):
    model, size = model_of("group norm")
    model, image = model.double(), torch.randn(1, 3, *size).double()
    network = capture(model, torch.zeros(1, 3, 16, 16).double()).module

    def faulty(stage):
        plan = tiles_of(stage, size, 13)
        tiles = [plan.tile(number) for number in range(len(plan))]
        parts = [stage(image[EVERYTHING + t.read])[EVERYTHING + fault(t)][0] for t in tiles]
        return combined({t.number: Moments.of(p) for t, p in zip(tiles, parts, strict=True)})

    constant = measured(network, faulty)
    assert (constant(image) - model(image)).abs().max() > 1e-4


def test_no_byte_depends_on_the_order_of_tiles():
    model, size = model_of("squeeze-excite")
    network = capture(model, torch.zeros(1, 3, 16, 16)).module
    image = torch.randn(1, 3, *size)
    one = measured(network, moments_by_tiles(image, 13))
    other = measured(network, moments_by_tiles(image, 13, order=lambda n: reversed(n)))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_moments_do_not_cancel_around_a_large_mean():
    values = torch.randn(2, 1000, dtype=torch.float64)
    shifted = values + 1e9
    parts = {n: Moments.of(part) for n, part in enumerate(shifted.split(7, dim=1))}
    found = combined(parts).spread / 1000
    # the numbers are rounded to 1e9 * 1.1e-16 already; of squares, nothing would be left
    torch.testing.assert_close(found, shifted.var(1, correction=0), rtol=1e-6, atol=0)


def test_nothing_has_no_moments():
    with pytest.raises(ArgumentError, match="a map without tiles has no moments"):
        combined({})
