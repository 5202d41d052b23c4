# SPDX-License-Identifier: Apache-2.0
"""The published size, and that outputs lie in the order of the anchors."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.models.detection.rednet_retinanet import _by_box


def test_the_published_size() -> None:
    model = models.create("rednet50_retinanet", device="meta")
    # Li et al. 2021, table 4, with 80 classes: 27.8 million and 210.1 billion at 1280 x 800 pixels.
    # They count what is trained on boxes; the stem and the first stage are frozen there.
    frozen = [model.backbone.stem, model.backbone.stages[0]]
    trained = sum(p.numel() for p in model.parameters()) - sum(
        p.numel() for part in frozen for p in part.parameters()
    )
    assert round(trained / 1e6, 1) == 27.8
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 800, 1280, device="meta"))
    assert 0.99 < counter.get_total_flops() / 2e9 / 210.1 < 1


def test_features_are_five_levels() -> None:
    model = models.create("rednet50_retinanet", depth=26, width=0.0625)
    shapes = [tuple(y.shape[2:]) for y in model.features(torch.zeros(1, 3, 200, 100))]
    assert shapes == [(25, 13), (13, 7), (7, 4), (4, 2), (2, 1)]


def test_boxes_are_ordered_as_anchors() -> None:
    # Channel 9 k of place (r, c): here the number says box, class, row and column.
    box, kind, row, column = (torch.arange(n) for n in (9, 2, 3, 4))
    x = box[:, None, None, None] * 1000 + kind[:, None, None] * 100 + row[:, None] * 10 + column
    y = _by_box(x.reshape(1, 18, 3, 4))
    assert y.shape == (1, 3 * 4 * 9, 2)
    assert y[0, (1 * 4 + 2) * 9 + 5].tolist() == [5012, 5112]


def test_it_starts_by_seeing_nothing() -> None:
    scores, _ = models.create("rednet50_retinanet", depth=26, width=0.0625)(
        torch.zeros(1, 3, 64, 64)
    )
    assert scores.sigmoid().mean().item() < 0.02
