# SPDX-License-Identifier: Apache-2.0
"""unet_small: a small U-Net for maps of classes, one score a pixel and class.

    image (n, c, h, w)                                    scores (n, classes, h, w)
      |                                                              |
    [2x conv] 16 ------------------ skip -------------------> cat [2x conv] 16
      | pool 2                                                     | up 2
    [2x conv] 32 ------------- skip -----------> cat [2x conv] 32 -'
      | pool 2                                       | up 2
    [2x conv] 64 ------ skip -----> cat [2x conv] 64 '
      | pool 2                          | up 2
    [2x conv] 128 ----------------------'

Source: the layout is that of Ronneberger, Fischer and Brox 2015, arXiv:1505.04597, figure 1, with
three levels instead of four, a quarter of the channels, the batch-norm of Ioffe and Szegedy 2015,
arXiv:1502.03167, and zero padding, so that the scores lie on the image's own pixels. The
channels are this package's choice: 482,466 parameters.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from convsmith.convs import Conv2d, ConvTranspose2d, PointwiseConv2d
from convsmith.errors import ShapeError
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

_LEVELS = (16, 32, 64, 128)
_PERIOD = 2 ** (len(_LEVELS) - 1)


class UNetSmall(Model):
    """Three levels down, three up, each joined to its mirror image; channels times `width`.

    Height and width must be multiples of 8: three poolings halve them, three transposed
    convolutions double them back.

    Raises:
        ShapeError: when called, if the image's sizes are no multiples of 8.

    >>> sum(p.numel() for p in UNetSmall().parameters())
    482466
    >>> UNetSmall()(torch.zeros(1, 1, 40, 64)).shape
    torch.Size([1, 2, 40, 64])
    """

    def __init__(self, *, num_classes: int = 2, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__()
        channels = [max(1, int(level * width)) for level in _LEVELS]
        self.stem = _two_convolutions(in_channels, channels[0])
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for above, below in pairwise(channels):
            self.down.append(nn.Sequential(nn.MaxPool2d(2), _two_convolutions(above, below)))
            self.up.insert(0, ConvTranspose2d(below, above, 2, stride=2))
            self.join.insert(0, _two_convolutions(2 * above, above))
        self.head = PointwiseConv2d(channels[0], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 16 width, h, w)."""
        if x.shape[-2] % _PERIOD or x.shape[-1] % _PERIOD:
            raise ShapeError(
                f"unet_small: the image is {x.shape[-2]} x {x.shape[-1]} pixels; its sizes must be "
                f"multiples of {_PERIOD}: crop or pad it"
            )
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        y = levels.pop()
        for up, join in zip(self.up, self.join, strict=True):
            y = join(torch.cat([levels.pop(), up(y)], dim=1))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        return self.head(self.features(x))


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


UNET_SMALL = Network(
    name="unet_small",
    build=UNetSmall,
    num_classes=2,
    task="segmentation",
    preprocess=Preprocess(colour="L", size=512, mean=(0.5,), std=(0.5,), scale=255.0),
    source="after Ronneberger, Fischer and Brox 2015, arXiv:1505.04597",
    description="A small U-Net: a class for every pixel, of membranes by default",
)
