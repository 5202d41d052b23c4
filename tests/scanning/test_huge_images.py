# SPDX-License-Identifier: Apache-2.0
"""A plan for 200,000 pixels a side is arithmetic; tiles anywhere in it are what they should be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.scanning.plan import Plan, Tile
from convsmith.scanning.sliding import Sliding, sliding
from convsmith.scanning.sources.synthetic import SyntheticSource

from .running_tiles import EVERYTHING

SIDE = 200_000
SOURCE = SyntheticSource((1, SIDE, SIDE))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Small integers: its sums stay below 2^24."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(4, 3, 3, dilation=2, padding=2),
    )
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.data = torch.randint(-3, 4, weight.shape, generator=generator).float()
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def slides(network: nn.Module) -> Sliding:
    return sliding(network, 1, [SIDE, SIDE])


def planned(slides: Sliding, core: int) -> Plan:
    space = (SIDE, SIDE)
    rows = zip(slides.axes, space, slides.outputs(space), strict=True)
    axes = tuple(axis.cut(size, outputs, core) for axis, size, outputs in rows)
    return Plan(axes=axes, in_channels=1, out_channels=3)


def test_a_plan_of_many_tiles_is_asked_tile_by_tile(slides: Sliding) -> None:
    plan = planned(slides, core=16)
    slides.check(plan.axes)
    assert len(plan) == 3125**2
    assert plan.tile(len(plan) - 1).write == (slice(49_984, 50_000),) * 2
    assert plan == Plan.from_json(plan.to_json())
    assert plan.fingerprint != replace(plan, batch=2).fingerprint


@pytest.mark.parametrize("share", [0.0, 0.4321, 1.0])
def test_a_tile_is_what_a_larger_window_gives(
    network: nn.Module, slides: Sliding, share: float
) -> None:
    plan = planned(slides, core=32)
    tile = plan.tile(round(share * (len(plan) - 1)))
    result = network(pixels(tile.read))[EVERYTHING + tile.keep]
    assert torch.equal(result, directly(network, plan, tile))


def directly(network: nn.Module, plan: Plan, tile: Tile) -> Tensor:
    """The same outputs from a window with twelve periods more on each side, where there are."""
    window, kept = [], []
    for axis, write in zip(plan.axes, tile.write, strict=True):
        first = max(0, int(axis.stride * write.start) - 12 * axis.period)
        window.append(
            slice(first, min(axis.size, int(axis.stride * write.stop) + 12 * axis.period))
        )
        shift = int(first / axis.stride)
        kept.append(slice(write.start - shift, write.stop - shift))
    return network(pixels(tuple(window)))[EVERYTHING + tuple(kept)]


def pixels(window: tuple[slice, ...]) -> Tensor:
    return torch.from_numpy(SOURCE.read(window).astype(np.float32))[None]
