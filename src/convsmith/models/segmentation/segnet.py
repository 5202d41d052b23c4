# SPDX-License-Identifier: Apache-2.0
"""SegNet: a decoder that puts every maximum back where its pooling found it.

    image ─ 2 x 64 ─ 2 x 128 ─ 3 x 256 ─ 3 x 512 ─ 3 x 512 ─┐
              ┊ pool    ┊ pool    ┊ pool    ┊ pool    ┊ pool │
              ┊indices  ┊         ┊         ┊         ┊      │
    scores ─ 2 x 64 ─ 2 x 128 ─ 3 x 256 ─ 3 x 512 ─ 3 x 512 ─┘
             unpool    unpool    unpool    unpool    unpool
    (3x3, norm, ReLU; the last layer of a decoder stage gives the channels of the stage below, the
    last of all the classes, without norm and ReLU)

It shows unpooling: the decoder knows the place of each maximum to the pixel from two bits a window,
and learns no enlargement; the convolution behind fills in the zeros.

Source: Badrinarayanan, Kendall and Cipolla, SegNet: A Deep Convolutional Encoder-Decoder
Architecture for Image Segmentation, 2015, arXiv:1511.00561, section 3: 14.7 million parameters in
the encoder. Paszke et al. 2016, arXiv:1606.02147, table 3, count 29.46 million in all.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, UnpoolConv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.classification.vgg16 import VGG16_STAGES
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess


class DecoderStage(nn.Module):
    """Unpool, then one 3x3 layer for each pair of neighbours in `channels`."""

    def __init__(self, channels: list[int], *, is_last: bool) -> None:
        super().__init__()
        self.unpool = UnpoolConv2d(channels[0], channels[1], 3, padding=1)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[1]), nn.ReLU(inplace=True)]
        for inputs, outputs in pairwise(channels[1:]):
            layers.extend(_convolution(inputs, outputs))
        self.rest = nn.Sequential(*(layers[:-2] if is_last else layers))

    def forward(self, x: Tensor, indices: Tensor, size: list[int]) -> Tensor:
        """(n, channels[0], h, w) and where each value came from to (n, channels[-1], *size)."""
        return self.rest(self.unpool(x, indices, size))


class SegNet(Model):
    """Thirteen convolutions down, thirteen up, channels times `width`, for images of any size.

    >>> SegNet(width=0.0625, num_classes=4).eval()(torch.zeros(1, 3, 45, 70)).shape
    torch.Size([1, 4, 45, 70])
    """

    def __init__(self, *, num_classes: int = 11, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        stages = [[max(1, int(channels * width)) for channels in stage] for stage in VGG16_STAGES]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs, below = in_channels, num_classes
        for number, stage in enumerate(stages):
            layers = [_convolution(a, b) for a, b in pairwise((inputs, *stage))]
            self.encoder.append(nn.Sequential(*(part for layer in layers for part in layer)))
            mirrored = [*reversed(stage), below]
            self.decoder.insert(0, DecoderStage(mirrored, is_last=number == 0))
            inputs = below = stage[-1]
        he_initialized(self)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 512 width, h / 32, w / 32)."""
        return self._encoded(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        x, indices, sizes = self._encoded(x)
        for stage in self.decoder:
            x = stage(x, indices.pop(), sizes.pop())
        return x

    def _encoded(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[list[int]]]:
        """The last map, and of each pooling the places of its maxima and the size it read."""
        indices, sizes = [], []
        for stage in self.encoder:
            x = stage(x)
            sizes.append(list(x.shape[2:]))
            x, places = F.max_pool2d(x, 2, return_indices=True)
            indices.append(places)
        return x, indices, sizes


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


SEGNET = Network(
    name="segnet",
    build=SegNet,
    num_classes=11,
    task="segmentation",
    preprocess=Preprocess(size=352, mean=(0.5,) * 3, std=(0.5,) * 3, scale=255.0),
    source="Badrinarayanan, Kendall and Cipolla 2015, arXiv:1511.00561",
    description="VGG-16 down, and up again by unpooling at the places of the maxima",
)
