# SPDX-License-Identifier: Apache-2.0
"""RedNet: the bottlenecks of ResNet with an involution in place of the 3x3 convolution.

    x ─┬─ 1x1 ─ norm ─ ReLU ─ involution 7x7, stride s ─ norm ─ ReLU ─ 1x1 ─ norm ─ + ─ ReLU
       │  I to O/4            O/4, 16 channels a kernel               O/4 to O      │
       └─ 1x1, stride s ─ norm (nothing where I = O and s = 1) ─────────────────────┘

It shows that a kernel which differs from place to place and is shared by 16 channels, seven by
seven, costs less than one that is shared by all places and differs between channels, three by
three: RedNet-50 has 61 % of the parameters and two thirds of the macs of ResNet-50.

Source: Li et al., Involution: Inverting the Inherence of Convolution for Visual Recognition, 2021,
arXiv:2103.06255, table 1. RedNet-26, 38, 50, 101 and 152 have 9.23, 12.39, 15.54, 25.65 and 33.99
million parameters, and 1.73, 2.22, 2.71, 4.74 and 6.79 billion operations. What these count is not
said. The products alone, involutions' included, are 1 to 3 % fewer; all ten numbers come out with
a 7x7 involution in the stem (`stem_window=7`: here it is 3x3, as published for classifiers, and 7x7
for dense prediction) and

    operations = products + 1 a bias + 2 a normalised value + 1 a value of a ReLU
"""

from functools import partial
from math import prod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, Involution2d, PointwiseConv2d
from convsmith.errors import ArgumentError
from convsmith.models.blocks import he_initialized, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

_BLOCKS = {
    26: (1, 2, 4, 1),
    38: (2, 3, 5, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_GROUP_CHANNELS, _REDUCTION = 16, 4
_FIRST_ADDED = 0.1  # the first scale of what a block adds to its input
STAGE_CHANNELS = (256, 512, 1024, 2048)


class InvolutionBottleneck(nn.Module):
    """Reduce by 1x1 to a quarter of the outputs, filter by involution, restore by 1x1; add the
    shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        hidden = out_channels // 4
        self.conv1 = normed(
            *(PointwiseConv2d(in_channels, hidden, bias=False), hidden),
            norm=True,
            activation=nn.ReLU,
        )
        self.involution = normed(
            *(_involution(hidden, 7, stride), hidden), norm=True, activation=nn.ReLU
        )
        self.conv3 = normed(
            *(PointwiseConv2d(hidden, out_channels, bias=False), out_channels),
            norm=True,
            activation=None,
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = PointwiseConv2d(in_channels, out_channels, stride, bias=False)
            self.shortcut = normed(projection, out_channels, norm=True, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        return F.relu(self.conv3(self.involution(self.conv1(x))) + self.shortcut(x))


class RedNetBackbone(nn.Module):
    """A stem of 3x3, involution and 3x3, a pooling, and four stages of bottlenecks.

    `stem_window` is the side of the stem's involution: 3 to classify, 7 for dense prediction.

    Raises:
        ArgumentError: if there is no network of this depth.
    """

    def __init__(self, depth: int, in_channels: int, width: float, *, stem_window: int = 3) -> None:
        super().__init__()
        if depth not in _BLOCKS:
            raise ArgumentError(f"rednet: depth is {depth!r}; choose from {sorted(_BLOCKS)}")
        # A quarter of a stage, and a quarter of that again, must be whole numbers.
        stem = _multiple_of(8, 64 * width)
        self.channels = tuple(_multiple_of(16, channels * width) for channels in STAGE_CHANNELS)
        relu = partial(normed, norm=True, activation=nn.ReLU)
        first = Conv2d(in_channels, stem // 2, 3, stride=2, padding=1, bias=False)
        last = Conv2d(stem // 2, stem, 3, padding=1, bias=False)
        self.stem = nn.Sequential(
            relu(first, stem // 2),
            relu(_involution(stem // 2, stem_window, 1), stem // 2),
            relu(last, stem),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        inputs = stem
        for number, (outputs, blocks) in enumerate(zip(self.channels, _BLOCKS[depth], strict=True)):
            self.stages.append(_stage(inputs, outputs, blocks, stride=2 if number else 1))
            inputs = outputs
        he_initialized(self)
        _start_gently(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, c, h, w) to the maps of the four stages: 256 to 2048 channels times width, strides 4
        to 32.
        """
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


class RedNet(Model):
    """The classifier: a linear layer on the mean of the last map.

    >>> RedNet(depth=26, width=0.25, num_classes=10).fc
    Linear(in_features=512, out_features=10, bias=True)
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        stem_window: int = 3,
    ) -> None:
        super().__init__()
        self.backbone = RedNetBackbone(depth, in_channels, width, stem_window=stem_window)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.backbone.channels[-1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 2048 width, h / 32, w / 32)."""
        return self.backbone(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.fc(self.pool(self.features(x)).flatten(1))


def _involution(channels: int, kernel_size: int, stride: int) -> nn.Module:
    shared = _GROUP_CHANNELS if channels % _GROUP_CHANNELS == 0 else channels
    return Involution2d(
        *(channels, kernel_size, stride), group_channels=shared, reduction=_REDUCTION
    )


def _start_gently(backbone: nn.Module) -> None:
    """Kernels that keep the variance of what they sum, and blocks that add a little.

    An involution multiplies its input by a function of itself: before norms know the data, fifty
    of them, each squaring what the last one made, overflow.
    """
    for module in backbone.modules():
        if isinstance(module, Involution2d):
            span: Any = module.generator.span
            nn.init.normal_(span.weight, std=(span.in_channels * prod(module.kernel_size)) ** -0.5)
            nn.init.zeros_(span.bias)
        elif isinstance(module, InvolutionBottleneck):
            nn.init.constant_(module.conv3[1].weight, _FIRST_ADDED)  # type: ignore[arg-type]


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    rest = (InvolutionBottleneck(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(InvolutionBottleneck(inputs, outputs, stride), *rest)


def _multiple_of(unit: int, channels: float) -> int:
    return unit * max(1, round(channels / unit))


REDNETS = tuple(
    Network(
        name=f"rednet{depth}",
        build=partial(RedNet, depth=depth),
        num_classes=1000,
        preprocess=IMAGENET,
        source="Li et al. 2021, arXiv:2103.06255, table 1",
        description=f"Bottlenecks with an involution in place of the 3x3, {depth} layers",
    )
    for depth in _BLOCKS
)
