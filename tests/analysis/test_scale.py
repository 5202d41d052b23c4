# SPDX-License-Identifier: Apache-2.0
"""Large questions are answered from shapes: deep networks, large images, many weights."""

import pytest
import torch
from torch import nn

import convsmith as cs


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        y += x
        return y.relu()


def deep(blocks: int, channels: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, channels, 1), *[Block(channels) for _ in range(blocks)])


def test_ten_billion_parameters_and_a_hundred_million_pixels() -> None:
    found = cs.analyze(deep(20, 7500), (1, 3, 10_000, 10_000))
    assert found.total.parameters > 10**10
    assert found.total.macs.all == 10**8 * (3 * 7500 + 20 * 7500**2 * 9)
    assert found.cone.axes[0].size == 41


@pytest.mark.slow
def test_a_thousand_convolutions_with_norms_and_skips() -> None:
    found = cs.analyze(deep(1000, 64), (1, 3, 224, 224))
    assert len(found.layers) == 1 + 4 * 1000
    assert found.total.macs.all == 224**2 * (3 * 64 + 1000 * 64**2 * 9)
    assert found.cone.axes[0].size == 2001
