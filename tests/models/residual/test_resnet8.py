# SPDX-License-Identifier: Apache-2.0
"""The sizes of the benchmark's own file; counts of the trained form are in test_registry."""

import torch

from convsmith import models
from convsmith.models.residual.resnet8 import ResidualBlock


def test_the_folded_form_has_the_weights_of_the_file() -> None:
    model = models.create("resnet8", norm=False, padding="same", device="meta")
    # Weights and biases of its ten operators, summed by hand from their shapes.
    blocks = (2 * 2_320, 4_640 + 9_248 + 544, 18_496 + 36_928 + 2_112)
    assert sum(p.numel() for p in model.parameters()) == 448 + sum(blocks) + 650


def test_norms_and_their_statistics_make_the_published_total() -> None:
    model = models.create("resnet8", device="meta")
    counters = sum(name.endswith("num_batches_tracked") for name in model.state_dict())
    assert sum(t.numel() for t in model.state_dict().values()) - counters == 78_666


def test_a_block_of_zero_weights_is_its_shortcut() -> None:
    x = torch.randn(2, 4, 6, 6)
    for out_channels, stride in ((4, 1), (8, 2), (8, 1)):
        block = ResidualBlock(4, out_channels, stride, norm=True, padding=1).eval()
        torch.nn.init.zeros_(block.conv2[0].weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(block.conv2[0].bias)  # type: ignore[arg-type]
        assert torch.equal(block(x), block.shortcut(x).relu())


def test_any_image_fits() -> None:
    assert models.create("resnet8", width=0.25)(torch.zeros(1, 3, 33, 29)).shape == (1, 10)
