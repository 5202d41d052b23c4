# SPDX-License-Identifier: Apache-2.0
"""VGG-16: thirteen 3x3 convolutions, five poolings, three linear layers.

    image ─ 2 x 64 ─ pool ─ 2 x 128 ─ pool ─ 3 x 256 ─ pool ─ 3 x 512 ─ pool ─ 3 x 512 ─ pool ─┐
            classes ─ linear ─ ReLU ─ linear 4096 ─ ReLU ─ linear 4096 ────────────────────────┘
    (3x3, padding 1, ReLU; pools 2x2)

It shows that small windows suffice if there are many, and where the weights are: three quarters of
them in the first linear layer, which is a 7x7 convolution once images are larger.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition,
2015, arXiv:1409.1556, table 1, configuration D. 138,357,544 parameters, of which the first linear
layer (7 x 7 x 512 to 4096) has 102,764,544. Parameters are named as torchvision names them. The
paper began with the weights of shallower networks; here the convolutions are drawn so that thirteen
of them in a row let the image through.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from convsmith.convs import Conv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

VGG16_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg_features(
    in_channels: int,
    stages: Sequence[Sequence[int]],
    *,
    norm: bool = False,
    ceil_mode: bool = False,
) -> nn.Sequential:
    """Stages of 3x3 convolutions with ReLU, each stage ended by a 2x2 pooling (which keeps an odd
    row or column if `ceil_mode`).
    """
    layers: list[nn.Module] = []
    for stage in stages:
        for inputs, outputs in pairwise((in_channels, *stage)):
            layers.append(Conv2d(inputs, outputs, 3, padding=1, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.MaxPool2d(2, ceil_mode=ceil_mode))
        in_channels = stage[-1]
    return nn.Sequential(*layers)


class VGG16(Model):
    """Configuration D, every layer's channels multiplied by `width`.

    `image_size` is the side of the images; the first linear layer reads `image_size // 32` squared
    positions.

    >>> VGG16(width=0.125, image_size=64, num_classes=10).classifier[0]
    Linear(in_features=256, out_features=512, bias=True)
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        image_size: int = 224,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        stages = [[max(1, int(channels * width)) for channels in stage] for stage in VGG16_STAGES]
        hidden = max(1, int(4096 * width))
        self.features = vgg_features(in_channels, stages)
        self.classifier = nn.Sequential(
            nn.Linear(stages[-1][-1] * (image_size // 32) ** 2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, image_size, image_size) to (n, num_classes): raw scores."""
        return self.classifier(self.features(x).flatten(1))


VGG_16 = Network(
    name="vgg16",
    build=VGG16,
    num_classes=1000,
    preprocess=IMAGENET,
    source="Simonyan and Zisserman 2015, arXiv:1409.1556",
    description="Thirteen 3x3 convolutions and three linear layers (configuration D)",
)
