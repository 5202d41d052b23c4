# SPDX-License-Identifier: Apache-2.0
"""DeepLab on MobileNet v2: a dense backbone, and what the whole image says beside every place.

    image ─ MobileNet v2, output stride 16 ─┬─ average of all ─ 1x1 ─ norm ─ ReLU ─ spread ─┐
                                            └─ 1x1 ─ norm ─ ReLU ─ concatenated to 512 ─────┴─┐
            scores of every pixel ─ bilinear ─ 1x1 to classes ─ norm and ReLU ─ 1x1 to 256 ───┘

It shows what a backbone is worth without its last stride: it becomes a dilation of the depthwise
layers behind it, so that the map has four times the places, and each sees as far as before.

Source: Sandler et al., MobileNetV2, 2018, arXiv:1801.04381, section 6.3; Chen et al., Rethinking
Atrous Convolution for Semantic Image Segmentation, 2017, arXiv:1706.05587. The form without the
dilated branches of the pyramid: 2.11 million parameters and 2.75 billion macs (table 7).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import PointwiseConv2d
from convsmith.models.blocks import normed
from convsmith.models.classification.mobilenet_v2 import inverted_residuals
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess
from convsmith.models.tflite import read_tflite

_LAST, _HEAD = 320, 256  # channels of the backbone at width 1, and of each branch of the head


class DeepLabMobileNetV2(Model):
    """Channels of the backbone times `width`; the head keeps its own.

    `norm=False` and `padding="same"` are the form of published files (see `MobileNetV2`).

    >>> model = DeepLabMobileNetV2(width=0.5, num_classes=3).eval()
    >>> model(torch.zeros(1, 3, 65, 49)).shape
    torch.Size([1, 3, 65, 49])
    """

    def __init__(
        self,
        *,
        num_classes: int = 21,
        in_channels: int = 3,
        width: float = 1.0,
        norm: bool = True,
        padding: int | Literal["same"] = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers = inverted_residuals(
            *(in_channels, width),
            norm=norm,
            padding=padding,
            rounded=_rounded_down,
            output_stride=16,
        )
        self.features = nn.Sequential(*layers)
        channels = _rounded_down(_LAST * width)
        self.local = _mixing(channels, norm)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.whole = _mixing(channels, norm)
        self.projection = _mixing(2 * _HEAD, norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = PointwiseConv2d(_HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        y = self.features(x)
        local = self.local(y)
        whole = self.whole(self.pool(y)).expand_as(local)
        scores = self.classifier(self.dropout(self.projection(torch.cat((whole, local), 1))))
        return F.interpolate(scores, size=x.shape[2:], mode="bilinear", align_corners=True)


def _mixing(channels: int, norm: bool) -> nn.Sequential:
    layer = PointwiseConv2d(channels, _HEAD, bias=not norm)
    return normed(layer, _HEAD, norm=norm, activation=nn.ReLU)


def _rounded_down(channels: float) -> int:
    return max(1, int(channels))


def _options(weights: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """What a file of folded weights shows: the fifth layer from the end has 320 width channels."""
    width = weights[-5][0] / _LAST
    return {"num_classes": weights[-1][0], "width": width, "norm": False, "padding": "same"}


DEEPLAB_MOBILENET_V2 = Network(
    name="deeplab_mobilenet_v2",
    build=DeepLabMobileNetV2,
    num_classes=21,
    task="segmentation",
    preprocess=Preprocess(size=513, mean=(127.5,) * 3, std=(127.5,) * 3, scale=1.0),
    source="Sandler et al. 2018, arXiv:1801.04381, section 6.3",
    description="MobileNet v2 with dilations for its last stride, and the whole image beside it",
    read_npz=partial(read_tflite, options=_options),
)
