# SPDX-License-Identifier: Apache-2.0
"""Grouped convolution: the channels are split into parts that never mix.

    y = concatenate over the groups g of  convolution(x's part g, weight's part g)

Layers and functions are standard convolution's, with `groups` above 1.

Source: Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural
Networks, 2012, section 3.2; Xie et al., Aggregated Residual Transformations, 2017, figure 3c.
"""

from functools import partial

import torch
from torch import Tensor, nn

from convsmith.convs.standard import Conv1d, Conv2d, Conv3d
from convsmith.convs.standard.standard import LAYERS, OPS, apply
from convsmith.convs.standard.standard import reference as convolve
from convsmith.family import Family, Sample, register
from convsmith.geometry import Geometry, Ints, Padding


def recognizes(geometry: Geometry) -> bool:
    """Whether the channels are split."""
    return type(geometry) is Geometry and geometry.groups > 1


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """A standard convolution of each part of the channels; the results side by side."""
    channels = 1 - weight.ndim  # the axis of the channels, counted from the end
    parts = zip(x.chunk(groups, channels), weight.chunk(groups), strict=True)
    y = torch.cat([convolve(*part, None, stride, padding, dilation) for part in parts], channels)
    return y if bias is None else y + bias.reshape(-1, *(1,) * (weight.ndim - 2))


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, 2 groups, padding 1",
            layer=partial(Conv2d, 4, 6, 3, padding=1, groups=2),
            twin=partial(nn.Conv2d, 4, 6, 3, padding=1, groups=2),
            input_shape=(2, 4, 5, 7),
        ),
        Sample(
            name="3x3, 3 groups, dilation 2, stride 2 'same', no bias",
            layer=partial(
                Conv2d, 6, 3, 3, stride=2, padding="same", dilation=2, groups=3, bias=False
            ),
            input_shape=(1, 6, 7, 6),
        ),
        Sample(
            name="1-D, 2 groups",
            layer=partial(Conv1d, 4, 2, 4, stride=3, padding=2, groups=2),
            twin=partial(nn.Conv1d, 4, 2, 4, stride=3, padding=2, groups=2),
            input_shape=(2, 4, 13),
        ),
        Sample(
            name="3-D, 2 groups",
            layer=partial(Conv3d, 4, 4, (2, 3, 1), stride=(1, 2, 1), groups=2),
            twin=partial(nn.Conv3d, 4, 4, (2, 3, 1), stride=(1, 2, 1), groups=2),
            input_shape=(1, 4, 3, 5, 2),
        ),
    ]


register(
    Family(
        name="grouped",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Krizhevsky et al., ImageNet Classification with Deep CNNs, 2012, section 3.2",
    )
)
