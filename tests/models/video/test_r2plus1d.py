# SPDX-License-Identifier: Apache-2.0
"""A split convolution has the weights of the whole one, and computes what it says."""

import pytest
import torch

from convsmith import models
from convsmith.models.video.r2plus1d import SpatiotemporalBlock, spatiotemporal


def test_whole_convolutions_make_the_published_r3d() -> None:
    model = models.create("r2plus1d", split=False, device="meta")
    assert sum(p.numel() for p in model.parameters()) == 33_371_472  # "33.4 million"


@pytest.mark.parametrize(
    ("channels", "kernel"), [((3, 64), (3, 7, 7)), ((64, 64), (3, 3, 3)), ((256, 512), (3, 3, 3))]
)
def test_a_split_has_as_many_weights_as_the_whole(
    channels: tuple[int, int], kernel: tuple[int, int, int]
) -> None:
    inputs, outputs = channels
    weights = []
    for split in (False, True):
        layer = spatiotemporal(inputs, outputs, kernel, (1, 1, 1), split=split)
        weights.append(sum(p.numel() for p in layer.parameters() if p.ndim == 5))
    # M is rounded down: less than the weights of one more channel in between are missing.
    one_more = kernel[1] * kernel[2] * inputs + kernel[0] * outputs
    assert 0 <= weights[0] - weights[1] < one_more


def test_a_split_is_one_convolution_if_nothing_stands_between() -> None:
    layer = spatiotemporal(2, 3, (3, 5, 5), (2, 1, 1), split=True)
    space, _, _, time = layer  # type: ignore[misc]
    for convolution in (space, time):
        convolution.weight.data = torch.randint(-3, 4, convolution.weight.shape).float()
    x = torch.randint(-3, 4, (1, 2, 5, 8, 7)).float()
    whole = torch.einsum("omt,mihw->oithw", time.weight[..., 0, 0], space.weight[:, :, 0])
    expected = torch.nn.functional.conv3d(x, whole, None, (2, 1, 1), (1, 2, 2))
    assert torch.equal(time(space(x)), expected)


@pytest.mark.parametrize("split", [True, False])
def test_a_block_of_zero_weights_is_its_shortcut(split: bool) -> None:
    x = torch.randn(1, 4, 4, 6, 6)
    for out_channels, stride in ((4, 1), (8, 2), (8, 1)):
        block = SpatiotemporalBlock(4, out_channels, stride, split=split).eval()
        for parameter in block.conv2.parameters():
            torch.nn.init.zeros_(parameter)
        assert torch.equal(block(x), block.shortcut(x).relu())
