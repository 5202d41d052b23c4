# SPDX-License-Identifier: Apache-2.0
"""ResNet-8: the CIFAR classifier that microcontrollers are measured with.

    x ─┬─ 3x3, stride s ─ norm ─ ReLU ─ 3x3 ─ norm ─ + ─ ReLU
       │      I to O                   O to O        │
       └─ 1x1, stride s (nothing where s = 1) ───────┘

It shows that three residual blocks and 78 thousand weights already tell nine CIFAR images in ten
apart.

Source: Banbury et al., MLPerf Tiny Benchmark, 2021, arXiv:2106.07597, image classification. 78,186
trainable parameters and 12.5 million macs; every convolution has a bias beside its norm.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess
from convsmith.models.tflite import read_tflite

_WIDTHS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to the input or to a pointwise convolution of it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        norm: bool,
        padding: int | Literal["same"],
    ) -> None:
        super().__init__()
        first = Conv2d(in_channels, out_channels, 3, stride, padding)
        second = Conv2d(out_channels, out_channels, 3, padding=padding)
        self.conv1 = normed(first, out_channels, norm=norm, activation=nn.ReLU)
        self.conv2 = normed(second, out_channels, norm=norm, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = PointwiseConv2d(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class ResNet8(Model):
    """A 3x3 layer and three residual blocks, a linear layer; pixels are read as they are, 0 to 255.

    `norm=False` and `padding="same"` are the form of the benchmark's own file.

    >>> ResNet8(width=0.5, num_classes=3).linear
    Linear(in_features=32, out_features=3, bias=True)
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        width: float = 1.0,
        norm: bool = True,
        padding: int | Literal["same"] = 1,
    ) -> None:
        super().__init__()
        first, second, third = (max(1, int(channels * width)) for channels in _WIDTHS)
        stem = Conv2d(in_channels, first, 3, padding=padding)
        block = partial(ResidualBlock, norm=norm, padding=padding)
        self.features = nn.Sequential(
            normed(stem, first, norm=norm, activation=nn.ReLU),
            block(first, first, 1),
            block(first, second, 2),
            block(second, third, 2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(third, num_classes)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.linear(self.pool(self.features(x)).flatten(1))


def _options(weights: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """What the benchmark's file shows: the last layer reads 64 width channels."""
    classes, channels = weights[-1]
    return {
        "num_classes": classes,
        "width": channels / _WIDTHS[-1],
        "norm": False,
        "padding": "same",
    }


RESNET_8 = Network(
    name="resnet8",
    build=ResNet8,
    num_classes=10,
    preprocess=Preprocess(size=32, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0),
    source="Banbury et al. 2021, arXiv:2106.07597 (MLPerf Tiny, image classification)",
    description="Three residual blocks for CIFAR images on microcontrollers",
    read_npz=partial(read_tflite, options=_options),
)
