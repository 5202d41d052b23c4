# SPDX-License-Identifier: Apache-2.0
"""The residual networks for CIFAR: 6 n + 2 layers, shortcuts without parameters (option A).

    x ─┬─ 3x3, stride s ─ norm ─ ReLU ─ 3x3 ─ norm ─ + ─ ReLU
       │      I to O                   O to O        │
       └─ every s-th pixel, channels of zeros added ─┘

It shows that depth can be had: with the shortcuts 56 layers learn better than 20, without them
worse.

Source: He et al., Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385, section 4.2
and table 6. ResNet-20, 32, 44 and 56 have 269,722, 464,154, 658,586 and 853,018 parameters.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import CIFAR


class SubsampleAndPad(nn.Module):
    """Option A: every `stride`-th pixel, and channels of zeros on both sides of the given ones."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        added = out_channels - in_channels
        self.stride, self.before, self.after = stride, added // 2, added - added // 2

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch-norm, added to the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        alike = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if alike else SubsampleAndPad(in_channels, out_channels, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(Model):
    """Three stages of `(depth - 2) / 6` blocks with 16, 32 and 64 channels times `width`.

    >>> sum(p.numel() for p in CifarResNet(depth=20).parameters())
    269722
    """

    def __init__(
        self, *, depth: int, num_classes: int = 10, in_channels: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        widths = [max(1, int(channels * width)) for channels in (16, 32, 64)]
        self.conv1 = Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(widths[0], widths[0], 1, blocks)
        self.layer2 = _stage(widths[0], widths[1], 2, blocks)
        self.layer3 = _stage(widths[1], widths[2], 2, blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[2], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 64 width, h / 4, w / 4)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.linear(self.pool(self.features(x)).flatten(1))


def _stage(in_channels: int, out_channels: int, stride: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(
        first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    )


CIFAR_RESNETS = tuple(
    Network(
        name=f"resnet{depth}",
        build=partial(CifarResNet, depth=depth),
        num_classes=10,
        preprocess=CIFAR,
        source="He et al. 2016, arXiv:1512.03385, section 4.2",
        description=f"The residual network of {depth} layers for CIFAR images, option A shortcuts",
    )
    for depth in (20, 32, 44, 56)
)
