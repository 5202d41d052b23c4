# SPDX-License-Identifier: Apache-2.0
"""The sizes of every map; counts are in test_sizes."""

import pytest
import torch

from convsmith import models
from convsmith.convs import Conv3d


def test_every_pool_leaves_the_published_map() -> None:
    x, sizes = torch.empty(1, 3, 16, 112, 112, device="meta"), []
    for layer in models.create("c3d", device="meta").features:
        x = layer(x)
        if isinstance(layer, torch.nn.MaxPool3d):
            sizes.append(tuple(x.shape[1:]))
    assert sizes == [
        (64, 16, 56, 56),
        (128, 8, 28, 28),
        (256, 4, 14, 14),
        (512, 2, 7, 7),
        (512, 1, 4, 4),
    ]


def test_with_the_classes_of_ucf101_it_has_the_parameters_that_others_count() -> None:
    model = models.create("c3d", num_classes=101, device="meta")
    layers = [layer for layer in model.features if isinstance(layer, Conv3d)]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 256, 512, 512, 512, 512]
    # 27,655,936 in the convolutions, 33,558,528, 16,781,312 and 413,797 in the linear layers.
    assert sum(p.numel() for p in model.parameters()) == 78_409_573


@pytest.mark.parametrize("size", [16, 32, 48, 60, 100])
def test_it_is_built_for_the_frames_it_is_told(size: int) -> None:
    model = models.create("c3d", image_size=size, num_classes=3, device="meta")
    assert model(torch.empty(2, 3, 16, size, size, device="meta")).shape == (2, 3)
