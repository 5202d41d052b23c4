# SPDX-License-Identifier: Apache-2.0
"""deeplab_small: a small network whose context comes from dilation, with holes in it or without.

    image ─ 3x3/32 ─ 3x3/64, stride 2 ─ 3x3/128, stride 2 ─ [x + 3x3 of dilation d] ─ 1x1 ─ x4
                                                              three times

It shows gridding. Dilations (2, 2, 2) look at 7 of the 13 places they span on an axis: neighbours
in the output are computed from different pixels, and small things fall through. (1, 2, 5), the
hybrid dilations, look at all of their 17. The two have the same weights and the same macs, so that
what differs is the dilation alone. `convsmith.analyze` of `features.context` names the holes.

Source: the layout is this package's, after Chen et al., DeepLab, 2015, arXiv:1412.7062, section
3.1; Wang et al., Understanding Convolution for Semantic Segmentation, 2018, arXiv:1702.08502,
section 3.2.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

HYBRID, GRIDDING = (1, 2, 5), (2, 2, 2)  # without holes, and with
_CHANNELS = (32, 64, 128)


class DilatedBlock(nn.Module):
    """A dilated 3x3 layer, added to its input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        layer = Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.layer = normed(layer, channels, norm=True, activation=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to the same shape."""
        return x + self.layer(x)


class DeepLabSmall(Model):
    """Two strides, one dilated block for each of `dilations`, channels times `width`.

    >>> model = DeepLabSmall(dilations=GRIDDING, num_classes=4).eval()
    >>> model(torch.zeros(1, 3, 45, 70)).shape
    torch.Size([1, 4, 45, 70])
    """

    def __init__(
        self,
        *,
        num_classes: int = 11,
        in_channels: int = 3,
        width: float = 1.0,
        dilations: Sequence[int] = HYBRID,
    ) -> None:
        super().__init__()
        widths = [max(1, int(channels * width)) for channels in _CHANNELS]
        stem, context = nn.Sequential(), nn.Sequential()
        for inputs, outputs, stride in zip((in_channels, *widths), widths, (1, 2, 2), strict=False):
            layer = Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            stem.append(normed(layer, outputs, norm=True, activation=nn.ReLU))
        for dilation in dilations:
            context.append(DilatedBlock(widths[-1], dilation))
        self.features = nn.Sequential(OrderedDict(stem=stem, context=context))
        self.classifier = PointwiseConv2d(widths[-1], num_classes)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        scores = self.classifier(self.features(x))
        return F.interpolate(scores, size=x.shape[2:], mode="bilinear", align_corners=False)


DEEPLAB_SMALL = Network(
    name="deeplab_small",
    build=DeepLabSmall,
    num_classes=11,
    task="segmentation",
    preprocess=replace(IMAGENET, size=256, crop=None),
    source="after Chen et al. 2015, arXiv:1412.7062; Wang et al. 2018, arXiv:1702.08502",
    description="Context by dilations without holes, or with, for a class of every pixel",
)
