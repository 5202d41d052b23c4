# SPDX-License-Identifier: Apache-2.0
"""Widths, shortcuts and names; the rest is in test_registry."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.models.blocks import divisible_by_8
from convsmith.models.classification.mobilenet_v2 import InvertedResidual


# Million macs that the authors list beside their trained models.
@pytest.mark.parametrize(("width", "macs"), [(1.4, 582), (0.75, 209), (0.5, 97), (0.35, 59)])
def test_the_published_widths(width: float, macs: int) -> None:
    model = models.create("mobilenet_v2", width=width, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() // 2_000_000 == macs


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(1, 8), (11.2, 16), (12, 16), (33.6, 32), (43.2, 40), (44, 48), (80, 80)],
)
def test_channels_are_multiples_of_8(channels: float, rounded: int) -> None:
    assert divisible_by_8(channels) == rounded


def test_ten_blocks_have_a_shortcut() -> None:
    model = models.create("mobilenet_v2", device="meta")
    blocks = [module for module in model.features if isinstance(module, InvertedResidual)]
    assert len(blocks) == 17
    assert sum(block.has_shortcut for block in blocks) == 10


def test_parameters_have_the_names_of_torchvision() -> None:
    names = set(models.create("mobilenet_v2", device="meta").state_dict())
    assert {
        "features.0.0.weight",
        "features.0.1.running_mean",
        "features.1.conv.0.0.weight",
        "features.1.conv.1.weight",
        "features.1.conv.2.bias",
        "features.2.conv.1.0.weight",
        "features.2.conv.2.weight",
        "features.2.conv.3.running_var",
        "features.18.1.weight",
        "classifier.1.bias",
    } <= names
    assert len(names) == 314
