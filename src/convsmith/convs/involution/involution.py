# SPDX-License-Identifier: Apache-2.0
"""Involution: a kernel for every place, generated from the input, shared by a group of channels.

    y[n, c, p] = sum_r kernels[n, g, r, p] x[n, c, p stride + r dilation - before]
    kernels[n, g, r, p] = generator(x)[n, g K + r, p]

(g = c // (C / G) is the group of channel c; p and the K taps r run over 1, 2 or 3 axes; the output
has ceil(size / stride) places along each)

Source: Li et al., Involution: Inverting the Inherence of Convolution for Visual Recognition, 2021,
equations 4 to 6.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from convsmith.convs.involution import functional
from convsmith.convs.involution.attention import LocalSelfAttention2d
from convsmith.convs.involution.functional import involution1d, involution2d, involution3d
from convsmith.convs.involution.geometry import InvolutionGeometry
from convsmith.convs.involution.layers import Involution1d, Involution2d, Involution3d
from convsmith.family import Family, Picture, Sample, register

LAYERS: dict[int, type[nn.Module]] = {1: Involution1d, 2: Involution2d, 3: Involution3d}
OPS: dict[int, Callable[..., Tensor]] = {1: involution1d, 2: involution2d, 3: involution3d}


def apply(function: Callable[..., Tensor], layer: Any, x: Tensor) -> Tensor:
    """The op or the reference, with a layer's kernels and options."""
    return layer.by(function, x)


def _picture(geometry: InvolutionGeometry) -> Picture:
    """Channels do not mix in the multiply-add; the taps lie around the output's place."""
    taps = tuple(
        tuple(r * d - d * (k - 1) // 2 for r in range(k))
        for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)
    )
    return Picture(channels=tuple((c,) for c in range(geometry.out_channels)), taps=taps)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, two groups",
            layer=partial(Involution2d, 8, 3, group_channels=4),
            input_shape=(2, 8, 5, 6),
        ),
        Sample(
            name="5x3, stride 2, odd sizes",
            layer=partial(Involution2d, 4, (5, 3), stride=2, group_channels=4, reduction=2),
            input_shape=(2, 4, 7, 5),
        ),
        Sample(
            name="3x3, stride (3, 1), dilation 2",
            layer=partial(
                Involution2d, 4, 3, stride=(3, 1), dilation=2, group_channels=2, reduction=1
            ),
            input_shape=(1, 4, 8, 6),
        ),
        Sample(
            name="1-D, stride 2",
            layer=partial(Involution1d, 6, 5, stride=2, group_channels=2, reduction=3),
            input_shape=(2, 6, 11),
        ),
        Sample(
            name="3-D",
            layer=partial(
                Involution3d, 4, (3, 2, 3), stride=(2, 1, 1), group_channels=2, reduction=2
            ),
            input_shape=(2, 4, 3, 4, 3),
        ),
        Sample(
            name="local self-attention, 3x3, two heads",
            layer=partial(LocalSelfAttention2d, 8, 3, num_heads=2),
            input_shape=(2, 8, 5, 4),
        ),
        Sample(
            name="local self-attention, 4x5, stride 2",
            layer=partial(LocalSelfAttention2d, 4, (4, 5), num_heads=1, stride=2),
            input_shape=(1, 4, 7, 6),
        ),
    ]


register(
    Family(
        name="involution",
        layers=LAYERS,
        ops=OPS,
        reference=functional.reference,
        apply=apply,
        recognizes=lambda geometry: isinstance(geometry, InvolutionGeometry),
        picture=_picture,
        kernels_at_places="made",
        samples=_samples,
        source="Li et al., Involution, 2021, equations 4 to 6",
    )
)
