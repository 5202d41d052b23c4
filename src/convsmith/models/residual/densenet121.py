# SPDX-License-Identifier: Apache-2.0
"""DenseNet-121: every layer of a block reads what all layers before it wrote.

    x ─┬─ norm ─ ReLU ─ 1x1 ─ norm ─ ReLU ─ 3x3 ─┐
       │             I to 128           128 to 32 │
       └──────────────────────────────────────── concatenated: I + 32 channels

It shows the other order: the first norm of a layer stands behind a concatenation, where no
convolution can take it in, and much of the time goes into reading and copying what is already
there. A transition (norm, ReLU, 1x1, 2x2 average) between blocks halves channels and sides.

Source: Huang et al., Densely Connected Convolutional Networks, 2017, arXiv:1608.06993, table 1.
7,978,856 parameters, named as torchvision names them, and 2.83 billion macs.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

_LAYERS = (6, 12, 24, 16)  # of each block
_GROWTH, _STEM, _REDUCED = 32, 64, 4  # channels a layer adds, the stem's, 1x1 outputs over growth


class DenseLayer(nn.Module):
    """The input with `growth` more channels behind it."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        reduced = _REDUCED * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = PointwiseConv2d(in_channels, reduced, bias=False)
        self.norm2 = nn.BatchNorm2d(reduced)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = Conv2d(reduced, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, in_channels + growth, h, w)."""
        y = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat((x, self.conv2(self.relu2(self.norm2(y)))), 1)


class DenseNet121(Model):
    """A 7x7 layer and a pooling, four dense blocks with transitions between them, a linear layer.

    `width` multiplies the channels of the stem and those that each layer adds.

    >>> DenseNet121(width=0.25, num_classes=10).classifier
    Linear(in_features=256, out_features=10, bias=True)
    """

    def __init__(
        self, *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        channels, growth = max(2, int(_STEM * width)), max(1, int(_GROWTH * width))
        self.features = _stem(in_channels, channels)
        for number, layers in enumerate(_LAYERS, 1):
            self.features.add_module(f"denseblock{number}", _block(channels, layers, growth))
            channels += layers * growth
            if number < len(_LAYERS):
                self.features.add_module(f"transition{number}", _transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.features.add_module("relu5", nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    return _named(
        conv0=Conv2d(in_channels, channels, 7, 2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(channels),
        relu0=nn.ReLU(inplace=True),
        pool0=nn.MaxPool2d(3, 2, padding=1),
    )


def _block(channels: int, layers: int, growth: int) -> nn.Sequential:
    return _named(
        **{f"denselayer{i + 1}": DenseLayer(channels + i * growth, growth) for i in range(layers)}
    )


def _transition(channels: int) -> nn.Sequential:
    return _named(
        norm=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
        conv=PointwiseConv2d(channels, channels // 2, bias=False),
        pool=nn.AvgPool2d(2),
    )


def _named(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


DENSENET_121 = Network(
    name="densenet121",
    build=DenseNet121,
    num_classes=1000,
    preprocess=IMAGENET,
    source="Huang et al. 2017, arXiv:1608.06993, table 1",
    description="Four blocks whose layers each read all that was written before them",
)
