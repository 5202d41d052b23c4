# SPDX-License-Identifier: Apache-2.0
"""Xception: depthwise separable convolutions, with nothing between their two steps.

    x ─┬─ ReLU ─ separable 3x3 ─ norm ─ ReLU ─ separable 3x3 ─ norm ─ max pool, stride 2 ─ + ─
       │           I to O                        O to O                                    │
       └─ 1x1, stride 2 ─ norm ────────────────────────────────────────────────────────────┘
       (in the middle: three separable layers of one width, no pool, x itself as the shortcut)

It shows the far end of Inception's idea: a module with one window for each channel. The depth
multiplier gives a channel more windows. `xception_small` is a quarter as wide, has two of the eight
middle blocks and no stride in its first layer, for images of 32 pixels.

Source: Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, 2017,
arXiv:1610.02357, figure 5. With width 1, eight middle blocks and stride 2: 22,855,952 parameters
(table 3).
"""

from functools import partial

from torch import Tensor, nn

from convsmith.convs import Conv2d, DepthwiseSeparableConv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import CIFAR

_ENTRY, _EXIT = (128, 256, 728), (1024, 1536, 2048)
_PER_BLOCK = 3  # separable layers of a middle block


class SeparableBlock(nn.Module):
    """Separable layers, each behind a ReLU and before a norm, added to the input; where the
    channels change, a max pooling halves the size, and a 1x1 layer brings the input there.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: list[int],
        *,
        multiplier: int = 1,
        activation_first: bool = True,
    ) -> None:
        super().__init__()
        self.layers, channels = nn.Sequential(), in_channels
        for number, outputs in enumerate(out_channels):
            if number or activation_first:
                self.layers.append(nn.ReLU())
            self.layers.append(_separable(channels, outputs, multiplier))
            self.layers.append(nn.BatchNorm2d(outputs))
            channels = outputs
        self.shortcut = nn.Sequential()
        if channels != in_channels:
            self.layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            self.shortcut.append(PointwiseConv2d(in_channels, channels, 2, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels[-1], h, w), or half of it."""
        return self.layers(x) + self.shortcut(x)


class Xception(Model):
    """Entry, middle and exit flow of figure 5, their channels times `width`.

    `middle` is the number of blocks in the middle, `depth_multiplier` the windows of each channel,
    `stem_stride` that of the first layer (2 in the paper).

    >>> Xception(width=0.25, middle=2, num_classes=10).classifier
    Linear(in_features=512, out_features=10, bias=True)
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        middle: int = 8,
        depth_multiplier: int = 1,
        stem_stride: int = 2,
    ) -> None:
        super().__init__()

        def scaled(published: int) -> int:
            return max(1, int(published * width))

        block = partial(SeparableBlock, multiplier=depth_multiplier)
        relu = partial(normed, norm=True, activation=nn.ReLU)
        first, channels = scaled(32), scaled(64)
        layers: list[nn.Module] = [
            relu(Conv2d(in_channels, first, 3, stem_stride, bias=False), first),
            relu(Conv2d(first, channels, 3, bias=False), channels),
        ]
        for number, outputs in enumerate(map(scaled, _ENTRY)):
            layers.append(block(channels, [outputs] * 2, activation_first=number > 0))
            channels = outputs
        layers += [block(channels, [channels] * _PER_BLOCK) for _ in range(middle)]
        last, *separable = map(scaled, _EXIT)
        layers.append(block(channels, [channels, last]))
        for outputs in separable:
            layers.append(relu(_separable(last, outputs, depth_multiplier), outputs))
            last = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(last, num_classes)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _separable(in_channels: int, out_channels: int, multiplier: int) -> nn.Module:
    return DepthwiseSeparableConv2d(
        in_channels, out_channels, 3, padding=1, depth_multiplier=multiplier, bias=False
    )


XCEPTION_SMALL = Network(
    name="xception_small",
    build=partial(Xception, num_classes=10, width=0.25, middle=2, stem_stride=1),
    num_classes=10,
    preprocess=CIFAR,
    source="after Chollet 2017, arXiv:1610.02357, figure 5",
    description="Separable convolutions with nothing in between, added to what they read",
)
