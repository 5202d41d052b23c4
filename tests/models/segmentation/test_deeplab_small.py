# SPDX-License-Identifier: Apache-2.0
"""Holes or none, with the same weights and macs."""

import pytest
import torch

from convsmith import models
from convsmith.analysis import analyze
from convsmith.models.segmentation.deeplab_small import GRIDDING, HYBRID


@pytest.mark.parametrize(
    ("dilations", "touched", "size", "has_holes"),
    [(HYBRID, 17, 17, False), (GRIDDING, 7, 13, True)],
)
def test_the_context_has_the_stated_holes(
    dilations: tuple[int, ...], touched: int, size: int, has_holes: bool
) -> None:
    model = models.create("deeplab_small", dilations=dilations, device="meta")
    layers = analyze(model.features.context, (1, 128, 64, 64)).layers
    cone = layers[-1].cone
    assert cone is not None
    assert [(axis.touched, axis.size) for axis in cone.axes] == [(touched, size)] * 2
    assert any(layer.gridding for layer in layers) == has_holes


def test_dilations_change_neither_weights_nor_macs() -> None:
    found = [
        analyze(models.create("deeplab_small", dilations=d, device="meta"), (1, 3, 64, 64)).total
        for d in (HYBRID, GRIDDING)
    ]
    assert found[0].macs.all == found[1].macs.all
    assert found[0].parameters == found[1].parameters


def test_there_is_a_block_for_each_dilation() -> None:
    model = models.create("deeplab_small", dilations=[1, 2, 3, 4], width=0.1, num_classes=2)
    assert len(model.features.context) == 4
    assert model(torch.zeros(1, 3, 33, 29)).shape == (1, 2, 33, 29)
