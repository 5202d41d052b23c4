# SPDX-License-Identifier: Apache-2.0
"""MobileNet v1: a depthwise and a pointwise convolution, thirteen times.

    x ─ depthwise 3x3, stride s ─ norm ─ ReLU6 ─ 1x1 ─ norm ─ ReLU6
              I channels                        I to O

It shows the depthwise separable convolution: eight to nine times fewer products than 3x3 layers of
the same channels, of which the 1x1 layers do 95 %. The width multiplier divides both; a depth
multiplier m puts m windows on each channel, so that depthwise layers have m I channels.

Source: Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications, 2017, arXiv:1704.04861, table 1. 4.23 million parameters and 569 million macs at
width 1 and 224 x 224 pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from convsmith.convs import Conv2d, DepthwiseConv2d, PointwiseConv2d
from convsmith.models.blocks import normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess
from convsmith.models.tflite import read_tflite

# (output channels, stride) of each depthwise separable pair
_PAIRS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
_PAIRS += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


class MobileNetV1(Model):
    """The network of table 1, its channels multiplied by `width` (at least 8 remain), those of its
    depthwise layers by `depth_multiplier` besides.

    `norm=False` is the form whose batch-norms are folded into biased convolutions;
    `padding="same"` is TensorFlow's, which pads after the image where the stride is 2.

    >>> MobileNetV1(width=0.25, num_classes=10).features[0][0].out_channels
    8
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        depth_multiplier: int = 1,
        norm: bool = True,
        padding: int | Literal["same"] = 1,
        activation: Literal["relu6", "relu"] = "relu6",
    ) -> None:
        super().__init__()
        relu = {"relu6": nn.ReLU6, "relu": nn.ReLU}[activation]
        channels = max(8, int(32 * width))
        stem = Conv2d(in_channels, channels, 3, stride=2, padding=padding, bias=not norm)
        layers = [normed(stem, channels, norm=norm, activation=relu)]
        for published, stride in _PAIRS:
            depthwise = DepthwiseConv2d(
                channels, 3, stride, padding, depth_multiplier=depth_multiplier, bias=not norm
            )
            filtered = channels * depth_multiplier
            layers.append(normed(depthwise, filtered, norm=norm, activation=relu))
            outputs = max(8, int(published * width))
            pointwise = PointwiseConv2d(filtered, outputs, bias=not norm)
            layers.append(normed(pointwise, outputs, norm=norm, activation=relu))
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _options(weights: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """What a file of folded weights shows: the last layer reads 1024 width channels."""
    width = weights[-1][-1] / 1024
    return {"num_classes": weights[-1][0], "width": width, "norm": False, "padding": "same"}


MOBILENET_V1 = Network(
    name="mobilenet_v1",
    build=MobileNetV1,
    num_classes=1000,
    preprocess=Preprocess(size=224, crop=0.875, mean=(127.5,) * 3, std=(127.5,) * 3, scale=1.0),
    source="Howard et al. 2017, arXiv:1704.04861",
    description="Thirteen depthwise separable pairs; the width multiplier trades accuracy for cost",
    read_npz=partial(read_tflite, options=_options, label_offset=1),
)

# "Is there a person?" on a microcontroller: a benchmark of MLPerf Tiny.
MOBILENET_V1_VWW = Network(
    name="mobilenet_v1_vww",
    build=partial(MobileNetV1, num_classes=2, width=0.25, activation="relu"),
    num_classes=2,
    preprocess=Preprocess(size=96, mean=(0.0,) * 3, std=(1.0,) * 3, scale=255.0),
    source="Banbury et al. 2021, arXiv:2106.07597 (MLPerf Tiny, visual wake words)",
    description="A quarter of MobileNet v1 that tells pictures with a person from those without",
    read_npz=partial(read_tflite, options=_options),
)
