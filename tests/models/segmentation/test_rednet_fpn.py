# SPDX-License-Identifier: Apache-2.0
"""The published size; the rest is in test_every_network."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models


def test_the_published_size() -> None:
    model = models.create("rednet50_fpn", device="meta")
    # Li et al. 2021, table 5, with 19 classes: 18.5 million, 293.9 billion at 2048 x 1024 pixels.
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 18.5
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 1024, 2048, device="meta"))
    assert 0.99 < counter.get_total_flops() / 2e9 / 293.9 < 1


def test_features_are_four_levels() -> None:
    model = models.create("rednet50_fpn", depth=26, width=0.0625)
    shapes = [tuple(y.shape) for y in model.features(torch.zeros(1, 3, 70, 50))]
    assert shapes == [(1, 16, 18, 13), (1, 16, 9, 7), (1, 16, 5, 4), (1, 16, 3, 2)]
