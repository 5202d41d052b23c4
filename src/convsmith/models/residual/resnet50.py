# SPDX-License-Identifier: Apache-2.0
"""ResNet-50: sixteen bottlenecks, each added to its input.

    x ─┬─ 1x1, stride s ─ norm ─ ReLU ─ 3x3 ─ norm ─ ReLU ─ 1x1 ─ norm ─ + ─ ReLU
       │      I to O/4                 O/4 to O/4          O/4 to O       │
       └─ 1x1, stride s ─ norm (nothing where I = O and s = 1) ───────────┘

It shows that a network of fifty layers is mostly pointwise: 1x1 layers do half of the 3.86 billion
macs, 3x3 layers most of the rest. This is version 1, whose stride is on the first 1x1; version 1.5
has it on the 3x3 and 4.09 billion.

Source: He et al., Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385, table 1.
25,557,032 parameters, named as torchvision names them.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET


class Bottleneck(nn.Module):
    """Reduce by 1x1 to `hidden` channels, filter by 3x3, restore by 1x1; add the shortcut.

    The stride is on the first of them, or on the 3x3 if `strided_filter`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        hidden: int | None = None,
        groups: int = 1,
        strided_filter: bool = False,
    ) -> None:
        super().__init__()
        hidden = hidden or max(1, out_channels // 4)
        first, second = (1, stride) if strided_filter else (stride, 1)
        self.conv1 = PointwiseConv2d(in_channels, hidden, first, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = Conv2d(hidden, hidden, 3, second, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = PointwiseConv2d(hidden, out_channels, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(PointwiseConv2d(in_channels, out_channels, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(Model):
    """A 7x7 layer and a pooling, four stages of bottlenecks, a linear layer.

    `blocks` is how many a stage has: (1, 2, 4, 1) makes 26 layers, as
    RedNet-26 has.

    >>> ResNet50(width=0.125, num_classes=10).fc
    Linear(in_features=256, out_features=10, bias=True)
    """

    block: ClassVar[type[nn.Module]] = Bottleneck

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        blocks: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        super().__init__()
        stem, *widths = (max(1, int(channels * width)) for channels in (64, 256, 512, 1024, 2048))
        self.conv1 = Conv2d(in_channels, stem, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = self._stage(stem, widths[0], blocks=blocks[0], stride=1)
        self.layer2 = self._stage(widths[0], widths[1], blocks=blocks[1], stride=2)
        self.layer3 = self._stage(widths[1], widths[2], blocks=blocks[2], stride=2)
        self.layer4 = self._stage(widths[2], widths[3], blocks=blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        he_initialized(self)

    def _stage(self, inputs: int, outputs: int, *, blocks: int, stride: int) -> nn.Sequential:
        rest = (self.block(outputs, outputs, 1) for _ in range(blocks - 1))
        return nn.Sequential(self.block(inputs, outputs, stride), *rest)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 2048 width, h / 32, w / 32)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.fc(self.avgpool(self.features(x)).flatten(1))


RESNET_50 = Network(
    name="resnet50",
    build=ResNet50,
    num_classes=1000,
    preprocess=IMAGENET,
    source="He et al. 2016, arXiv:1512.03385, table 1",
    description="Sixteen residual bottlenecks (version 1: the stride is on the first 1x1)",
)
