# SPDX-License-Identifier: Apache-2.0
"""The published size, and where a stride became a dilation."""

import pytest
import torch

from convsmith import models
from convsmith.models.classification.mobilenet_v2 import InvertedResidual, inverted_residuals


def test_the_published_size() -> None:
    # Sandler et al. 2018, table 7: 2.11 million parameters; its macs (2.75 billion) are in
    # test_sizes, 2.74 of them.
    model = models.create("deeplab_mobilenet_v2", device="meta")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 2.11


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations"),
    [
        (32, [1, 2, 2, 2, 1, 2, 1], [1, 1, 1, 1, 1, 1, 1]),
        (16, [1, 2, 2, 2, 1, 1, 1], [1, 1, 1, 1, 1, 1, 2]),
        (8, [1, 2, 2, 1, 1, 1, 1], [1, 1, 1, 1, 2, 2, 4]),
    ],
)
def test_strides_beyond_the_output_stride_become_dilations(
    output_stride: int, strides: list[int], dilations: list[int]
) -> None:
    layers = inverted_residuals(3, 0.25, norm=True, padding=1, output_stride=output_stride)
    blocks = [layer for layer in layers if isinstance(layer, InvertedResidual)]
    depthwise = [next(m for m in b.modules() if getattr(m, "groups", 1) > 1) for b in blocks]
    firsts = [0, 1, 3, 6, 10, 13, 16]
    assert [depthwise[i].stride[0] for i in firsts] == strides  # type: ignore[index]
    assert [depthwise[i].dilation[0] for i in firsts] == dilations  # type: ignore[index]
    assert all(depthwise[i].padding == depthwise[i].dilation for i in range(17))
    # The rest of a stage whose stride became a dilation is dilated already.
    assert depthwise[14].dilation[0] == depthwise[16].dilation[0]  # type: ignore[index]
    x = torch.zeros(1, 3, 64, 96)
    for layer in layers:
        x = layer(x)
    assert x.shape[2:] == (64 // output_stride, 96 // output_stride)
