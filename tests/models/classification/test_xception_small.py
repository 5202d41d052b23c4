# SPDX-License-Identifier: Apache-2.0
"""The published network by the same code, and its blocks."""

import torch

from convsmith import models
from convsmith.models.classification.xception_small import SeparableBlock

PUBLISHED = {"width": 1.0, "middle": 8, "stem_stride": 2, "num_classes": 1000}


def test_the_published_size_has_the_published_parameters() -> None:
    model = models.create("xception_small", device="meta", **PUBLISHED)
    assert sum(p.numel() for p in model.parameters()) == 22_855_952  # table 3
    assert model.features(torch.empty(1, 3, 299, 299, device="meta")).shape == (1, 2048, 10, 10)


def test_a_block_of_zero_weights_is_its_shortcut() -> None:
    x = torch.randn(2, 8, 9, 10)
    for outputs in ([8, 8, 8], [12, 12]):
        block = SeparableBlock(8, outputs).eval()
        for parameter in block.layers.parameters():
            torch.nn.init.zeros_(parameter)
        assert torch.equal(block(x), block.shortcut(x))
        assert bool(len(block.shortcut)) == (outputs != [8, 8, 8])


def test_a_multiplier_gives_each_channel_more_windows() -> None:
    model = models.create("xception_small", depth_multiplier=2, device="meta")
    separable = [m for m in model.modules() if hasattr(m, "depthwise")]
    assert all(m.depthwise.out_channels == 2 * m.depthwise.in_channels for m in separable)
    assert len(separable) == 2 * 3 + 2 * 3 + 2 + 2
