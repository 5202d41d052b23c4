# SPDX-License-Identifier: Apache-2.0
"""VGG-FCN: VGG-16 with convolutions for linear layers, and back to the image by transposed ones.

    image ─ 3 stages ─ pool3 ─ stage 4 ─ pool4 ─ stage 5 ─ pool5 ─ 7x7 ─ 1x1 ─ 1x1 to classes
                         │                 │                                     │
    32s                  │                 │                                     x32 ── scores
    16s                  │                1x1 ──────────────────────────── + ─── x2
                         │                                                 x16 ─────── scores
    8s                  1x1 ─────────────────────────────────── + ─── x2 ─ +   (as in 16s)
                                                                x8 ─────────────────── scores

It shows that a linear layer behind a flatten is a convolution of the map's size, so that a
classifier slides over any image; that a transposed convolution which starts as bilinear
interpolation brings its map back to pixels; and what finer maps add to that.

Source: Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015,
arXiv:1411.4038, section 4 and table 1: 134 million parameters, stride 32, a receptive field of 404
pixels (up to the scores). The paper, which began with trained weights, took the mean off the pixels
and left their spread; here it is divided by, so that first weights give scores of the size of one.
"""

from functools import partial

import torch
from torch import Tensor, nn

from convsmith.convs import Conv2d, ConvTranspose2d, PointwiseConv2d
from convsmith.errors import ArgumentError
from convsmith.models.blocks import he_initialized
from convsmith.models.classification.vgg16 import VGG16_STAGES, vgg_features
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

# The first layer pads so much that 7x7 fits behind five poolings of the smallest image.
_BORDER = 100
# What to cut off where two maps meet, as the border and the enlargements make it: of the map of
# pool4 and of pool3, and of the scores of 32s, 16s and 8s.
_CROP_POOL4, _CROP_POOL3 = 5, 9
_CROP_SCORES = {32: 19, 16: 27, 8: 31}
_POOL3, _POOL4 = 17, 24  # how many layers lie before


class VGGFCN(Model):
    """Channels of all layers times `width`; `stride` is 32, 16 or 8: the finest map that is read.

    Raises:
        ArgumentError: if `stride` is another.

    >>> VGGFCN(width=0.0625, num_classes=4, stride=8)(torch.zeros(1, 3, 45, 70)).shape
    torch.Size([1, 4, 45, 70])
    """

    def __init__(
        self,
        *,
        num_classes: int = 21,
        in_channels: int = 3,
        width: float = 1.0,
        stride: int = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if stride not in _CROP_SCORES:
            raise ArgumentError(f"vgg_fcn: stride is {stride!r}; choose from {[*_CROP_SCORES]}")
        stages = [[max(1, int(channels * width)) for channels in stage] for stage in VGG16_STAGES]
        hidden = max(1, int(4096 * width))
        self.stride = stride
        layers = vgg_features(in_channels, stages, ceil_mode=True)
        layers[0] = Conv2d(in_channels, stages[0][0], 3, padding=_BORDER)
        self.to_pool3 = layers[:_POOL3]
        self.to_pool4 = layers[_POOL3:_POOL4]
        self.to_pool5 = layers[_POOL4:]
        self.classifier = nn.Sequential(
            Conv2d(stages[-1][-1], hidden, 7),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            PointwiseConv2d(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            PointwiseConv2d(hidden, num_classes),
        )
        he_initialized(self)
        if stride <= 16:
            self.score_pool4 = _silent(stages[3][-1], num_classes)
            self.double_pool5 = _bilinear(num_classes, 2)
        if stride <= 8:
            self.score_pool3 = _silent(stages[2][-1], num_classes)
            self.double_pool4 = _bilinear(num_classes, 2)
        self.enlarge = _bilinear(num_classes, stride)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 512 width, (h + 198) / 32, (w + 198) / 32), rounded up."""
        return self.to_pool5(self.to_pool4(self.to_pool3(x)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        pool3 = self.to_pool3(x)
        pool4 = self.to_pool4(pool3)
        scores = self.classifier(self.to_pool5(pool4))
        if self.stride <= 16:
            scores = self.double_pool5(scores)
            scores = scores + _cut(self.score_pool4(pool4), _CROP_POOL4, scores)
        if self.stride <= 8:
            scores = self.double_pool4(scores)
            scores = scores + _cut(self.score_pool3(pool3), _CROP_POOL3, scores)
        return _cut(self.enlarge(scores), _CROP_SCORES[self.stride], x)


def _cut(x: Tensor, first: int, like: Tensor) -> Tensor:
    """As many rows and columns as `like` has, from `first` on."""
    rows, columns = like.shape[2:]
    return x[:, :, first : first + rows, first : first + columns]


def _silent(channels: int, classes: int) -> nn.Module:
    """A layer of zeros, so that a net that reads one more map starts as the one without it."""
    layer = PointwiseConv2d(channels, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _bilinear(classes: int, factor: int) -> nn.Module:
    """A trainable enlargement that starts as bilinear interpolation of each class's map."""
    size = 2 * factor
    layer = ConvTranspose2d(classes, classes, size, stride=factor, bias=False)
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        for kind in range(classes):
            layer.weight[kind, kind] = torch.outer(ramp, ramp)
    return layer


def _entry(stride: int) -> Network:
    return Network(
        name=f"vgg_fcn{stride}s",
        build=partial(VGGFCN, stride=stride),
        num_classes=21,
        task="segmentation",
        preprocess=Preprocess(
            size=500, mean=(122.68, 116.67, 104.01), std=(58.4, 57.12, 57.38), scale=1.0
        ),
        source="Long, Shelhamer and Darrell 2015, arXiv:1411.4038, section 4",
        description=f"VGG-16 on any image, back to pixels from stride {stride}",
    )


VGG_FCNS = tuple(_entry(stride) for stride in (32, 16, 8))
