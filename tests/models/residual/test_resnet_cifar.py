# SPDX-License-Identifier: Apache-2.0
"""Option A shortcuts; sizes are in test_registry."""

import torch

from convsmith import models
from convsmith.models.residual.resnet_cifar import BasicBlock, SubsampleAndPad


def test_the_shortcut_keeps_every_other_pixel_between_zeros() -> None:
    x = torch.arange(2 * 5 * 6).reshape(1, 2, 5, 6).float()
    y = SubsampleAndPad(2, 5, stride=2)(x)
    assert y.shape == (1, 5, 3, 3)
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2])
    assert y[:, [0, 3, 4]].count_nonzero() == 0


def test_a_block_of_zero_weights_is_its_shortcut() -> None:
    block = BasicBlock(4, 8, 2).eval()
    for convolution in (block.conv1, block.conv2):
        torch.nn.init.zeros_(convolution.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), block.shortcut(x).relu())


def test_a_wide_or_odd_network_still_fits_together() -> None:
    model = models.create("resnet20", width=0.7)
    assert model(torch.zeros(1, 3, 33, 31)).shape == (1, 10)
