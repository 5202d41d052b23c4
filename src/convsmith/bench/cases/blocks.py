# SPDX-License-Identifier: Apache-2.0
"""Blocks as networks have them: dense 3x3, depthwise separable, inverted residual.

A batch-norm and a ReLU follow dense layers and both layers of separable blocks; inverted residuals
have ReLU6, and expand six times but for the first. Dense and separable blocks are timed with
math="strict" as well: what is saved by Winograd is then not counted twice.
"""

from functools import partial

from torch import nn

from convsmith import convs
from convsmith.bench.case import Case
from convsmith.bench.results import OURS_LAST, STRICT, STRICT_LAST
from convsmith.models.classification.mobilenet_v2 import InvertedResidual

_WAYS = frozenset({OURS_LAST, STRICT, STRICT_LAST})
# (channels in, out, side of the map) of dense 3x3 layers where multiplying less may pay; the last
# is there for the separable block that replaces it
_DENSE = [(128, 128, 56), (64, 64, 56), (64, 64, 112), (64, 64, 224), (256, 256, 28)]
_DENSE += [(512, 512, 28), (256, 256, 14), (512, 512, 14), (512, 512, 7), (32, 64, 112)]
_SEPARABLE = [(128, 128, 56), (32, 64, 112), (256, 256, 28), (512, 512, 14)]
# (channels in, out, side, stride, expansion): every distinct block of MobileNet v2
_INVERTED = [(32, 16, 112, 1, 1), (16, 24, 112, 2, 6), (24, 24, 56, 1, 6), (24, 32, 56, 2, 6)]
_INVERTED += [(32, 32, 28, 1, 6), (32, 64, 28, 2, 6), (64, 64, 14, 1, 6), (64, 96, 14, 1, 6)]
_INVERTED += [(96, 96, 14, 1, 6), (96, 160, 14, 2, 6), (160, 160, 7, 1, 6), (160, 320, 7, 1, 6)]


def blocks() -> list[Case]:
    """Every row of blocks."""
    return [
        *(_dense(*shape) for shape in _DENSE),
        *(_separable(*shape) for shape in _SEPARABLE),
        *(_inverted(*shape) for shape in _INVERTED),
    ]


def dense_name(channels: int, outputs: int, side: int) -> str:
    """What the row of a dense 3x3 layer is called."""
    return f"dense 3x3 {_channels(channels, outputs)}, {side}x{side}"


def _channels(channels: int, outputs: int) -> str:
    return f"{channels}" if channels == outputs else f"{channels}->{outputs}"


def _dense(channels: int, outputs: int, side: int) -> Case:
    def build() -> nn.Module:
        layer = convs.Conv2d(channels, outputs, 3, padding=1, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())

    return Case(
        name=dense_name(channels, outputs, side),
        group="dense 3x3",
        build=build,
        input_shape=(1, channels, side, side),
        also=_WAYS,
    )


def _separable(channels: int, outputs: int, side: int) -> Case:
    return Case(
        name=f"separable 3x3 {_channels(channels, outputs)}, {side}x{side}",
        group="separable blocks",
        build=partial(
            convs.DepthwiseSeparableConv2d,
            *(channels, outputs, 3),
            padding=1,
            bias=False,
            norm=nn.BatchNorm2d,
            activation=nn.ReLU,
        ),
        input_shape=(1, channels, side, side),
        replaces=dense_name(channels, outputs, side),
        also=_WAYS,
    )


def _inverted(channels: int, outputs: int, side: int, stride: int, expansion: int) -> Case:
    marks = (" stride 2" if stride == 2 else "") + (" expansion 1" if expansion == 1 else "")
    return Case(
        name=f"inverted residual {_channels(channels, outputs)}{marks}, {side}x{side}",
        group="inverted residuals",
        build=partial(
            InvertedResidual, *(channels, outputs, stride, expansion), norm=True, padding=1
        ),
        input_shape=(1, channels, side, side),
        also=frozenset({OURS_LAST}),
    )
