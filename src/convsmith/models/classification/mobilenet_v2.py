# SPDX-License-Identifier: Apache-2.0
"""MobileNet v2: inverted residuals with linear bottlenecks.

    x ─┬─ 1x1 ─ norm ─ ReLU6 ─ depthwise 3x3, stride s ─ norm ─ ReLU6 ─ 1x1 ─ norm ─ + ─
       │  I to 6 I                   6 I                              6 I to O       │
       └─ (where s = 1 and I = O) ───────────────────────────────────────────────────┘

It shows a shortcut between thin maps: what is kept in memory has few channels, what is filtered has
many, and the last 1x1 of a block has no activation that could lose some of them.

Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018,
arXiv:1801.04381, table 2. 3,504,872 parameters and about 300 million macs at width 1 and 224 x 224
pixels. Parameters are named as torchvision names them, so that its weights load.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from convsmith.convs import Conv2d, DepthwiseConv2d, PointwiseConv2d
from convsmith.models.blocks import divisible_by_8, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess
from convsmith.models.tflite import read_tflite

# (expansion, output channels, repeats, stride of the first)
_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise, project by 1x1 without an activation; add the input where
    the shapes agree.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        *,
        norm: bool,
        padding: int | Literal["same"],
        dilation: int = 1,
    ) -> None:
        super().__init__()
        around = padding if padding == "same" else padding * dilation
        hidden = in_channels * expansion
        parts: list[nn.Module] = []
        if expansion != 1:
            expand = PointwiseConv2d(in_channels, hidden, bias=not norm)
            parts.append(normed(expand, hidden, norm=norm))
        depthwise = DepthwiseConv2d(hidden, 3, stride, around, dilation, bias=not norm)
        parts.append(normed(depthwise, hidden, norm=norm))
        project = PointwiseConv2d(hidden, out_channels, bias=not norm)
        parts.extend(normed(project, out_channels, norm=norm, activation=None))
        self.conv = nn.Sequential(*parts)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / stride, w / stride)."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


def inverted_residuals(
    in_channels: int,
    width: float,
    *,
    norm: bool,
    padding: int | Literal["same"],
    rounded: Callable[[float], int] = divisible_by_8,
    output_stride: int = 32,
) -> list[nn.Module]:
    """A strided 3x3 layer and the blocks of table 2, which end with 320 channels times width.

    Where the strides so far make `output_stride`, later ones become dilations of what follows them.
    """
    channels, reached, dilation = rounded(32 * width), 2, 1
    stem = Conv2d(in_channels, channels, 3, stride=2, padding=padding, bias=not norm)
    layers: list[nn.Module] = [normed(stem, channels, norm=norm)]
    for expansion, published, repeats, stride in _STAGES:
        outputs = rounded(published * width)
        dense = reached * stride > output_stride
        for i in range(repeats):
            block = InvertedResidual(
                *(channels, outputs, 1 if i or dense else stride, expansion),
                norm=norm,
                padding=padding,
                dilation=dilation,
            )
            layers.append(block)
            channels = outputs
            dilation *= stride if dense and i == 0 else 1
        reached *= 1 if dense else stride
    return layers


class MobileNetV2(Model):
    """The network of table 2, its channels multiplied by `width` and rounded to multiples of 8.

    `norm=False` is the form whose batch-norms are folded into biased convolutions;
    `padding="same"` is TensorFlow's, which pads after the image where the stride is 2.

    >>> MobileNetV2(width=0.35, num_classes=10).features[0][0].out_channels
    16
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        norm: bool = True,
        padding: int | Literal["same"] = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers = inverted_residuals(in_channels, width, norm=norm, padding=padding)
        channels = divisible_by_8(_STAGES[-1][1] * width)
        last = divisible_by_8(1280 * max(1.0, width))
        head = PointwiseConv2d(channels, last, bias=not norm)
        layers.append(normed(head, last, norm=norm))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _options(weights: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """What a file of folded weights shows: the last projection has 320 width channels."""
    width = weights[-2][-1] / 320
    return {"num_classes": weights[-1][0], "width": width, "norm": False, "padding": "same"}


MOBILENET_V2 = Network(
    name="mobilenet_v2",
    build=MobileNetV2,
    num_classes=1000,
    preprocess=Preprocess(size=224, crop=0.875, mean=(127.5,) * 3, std=(127.5,) * 3, scale=1.0),
    source="Sandler et al. 2018, arXiv:1801.04381",
    description="Seventeen inverted residual blocks with linear bottlenecks",
    read_npz=partial(read_tflite, options=_options, label_offset=1),
)
