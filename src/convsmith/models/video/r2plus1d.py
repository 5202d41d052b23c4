# SPDX-License-Identifier: Apache-2.0
"""R(2+1)D: each 3-D convolution split into one over the image and one over time.

    x ─┬─ 1x3x3 ─ norm ─ ReLU ─ 3x1x1 ─ norm ─ ReLU ─ 1x3x3 ─ norm ─ ReLU ─ 3x1x1 ─ norm ─ + ─ ReLU
       │  I to M                M to O                O to M'                M' to O       │
       └─ 1x1x1, stride 2 ─ norm (nothing where I = O) ────────────────────────────────────┘

    M = floor(27 I O / (9 I + 3 O)): as many weights as 3x3x3 has

It shows a separable form that is not meant to save: with the weights of the whole kernel, the two
steps have a ReLU between them and train better. `split=False` is the network it is compared with,
R3D.

Source: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, 2018,
arXiv:1711.11248, section 3.5 and table 1. 33,383,797 parameters with 18 layers and 400 classes;
R3D has 33,371,472 ("33.4 million"), which M is chosen to match.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv3d, PointwiseConv3d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

_STAGES = (64, 128, 256, 512)


def spatiotemporal(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int, int],
    stride: tuple[int, int, int],
    *,
    split: bool,
) -> nn.Module:
    """A 3-D convolution whose padding keeps the size, or its two steps with as many weights."""
    t, h, w = kernel_size
    if not split:
        padding = (t // 2, h // 2, w // 2)
        return Conv3d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    whole = t * h * w * in_channels * out_channels
    between = max(1, whole // (h * w * in_channels + t * out_channels))
    over_image, over_time = (1, *stride[1:]), (stride[0], 1, 1)
    return nn.Sequential(
        Conv3d(in_channels, between, (1, h, w), over_image, (0, h // 2, w // 2), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        Conv3d(between, out_channels, (t, 1, 1), over_time, (t // 2, 0, 0), bias=False),
    )


class SpatiotemporalBlock(nn.Module):
    """Two 3x3x3 convolutions, split or not, added to the input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, split: bool) -> None:
        super().__init__()
        kernel, steps, ones = (3, 3, 3), (stride, stride, stride), (1, 1, 1)
        self.conv1 = spatiotemporal(in_channels, out_channels, kernel, steps, split=split)
        self.norm1 = nn.BatchNorm3d(out_channels)
        self.conv2 = spatiotemporal(out_channels, out_channels, kernel, ones, split=split)
        self.norm2 = nn.BatchNorm3d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = PointwiseConv3d(in_channels, out_channels, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm3d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, t, h, w) to (n, out_channels, t / stride, h / stride, w / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class R2Plus1D(Model):
    """A stem of 3x7x7 and four stages of two blocks, channels times `width`; `split=False` leaves
    every convolution whole (R3D).

    >>> R2Plus1D(width=0.125, num_classes=5)(torch.zeros(1, 3, 9, 40, 48)).shape
    torch.Size([1, 5])
    """

    def __init__(
        self,
        *,
        num_classes: int = 400,
        in_channels: int = 3,
        width: float = 1.0,
        split: bool = True,
    ) -> None:
        super().__init__()
        first, *_ = widths = [max(1, int(channels * width)) for channels in _STAGES]
        stem = spatiotemporal(in_channels, first, (3, 7, 7), (1, 2, 2), split=split)
        self.features = nn.Sequential(stem, nn.BatchNorm3d(first), nn.ReLU(inplace=True))
        inputs = first
        for number, outputs in enumerate(widths):
            stride = 2 if number else 1
            self.features.append(SpatiotemporalBlock(inputs, outputs, stride, split=split))
            self.features.append(SpatiotemporalBlock(outputs, outputs, 1, split=split))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.classifier = nn.Linear(inputs, num_classes)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, t, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


R2PLUS1D = Network(
    name="r2plus1d",
    build=R2Plus1D,
    num_classes=400,
    frames=16,
    preprocess=replace(IMAGENET, size=112),
    source="Tran et al. 2018, arXiv:1711.11248, section 3.5",
    description="Eighteen layers whose 3-D convolutions are split into image and time",
)
