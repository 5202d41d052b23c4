# SPDX-License-Identifier: Apache-2.0
"""Dilated (atrous) convolution: the taps of the window stand `dilation` pixels apart.

    y[n, o, p] = bias[o] + sum_{i, r} weight[o, i, r] x[n, i, p stride + r dilation - padding]

Layers and functions are standard convolution's, with `dilation` above 1.

Source: Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, 2016, equation 2.
"""

from functools import partial
from itertools import product

from torch import Tensor, nn

from convsmith.convs.padding import pad, resolve
from convsmith.convs.standard import Conv1d, Conv2d, Conv3d
from convsmith.convs.standard.standard import LAYERS, OPS, apply
from convsmith.convs.standard.standard import reference as convolve
from convsmith.family import Family, Sample, register
from convsmith.geometry import Axis, Geometry, Ints, Padding, per_axis


def recognizes(geometry: Geometry) -> bool:
    """Whether two taps of some axis stand apart: the dilation of a single tap means nothing."""
    return type(geometry) is Geometry and any(
        k > 1 and d > 1 for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)
    )


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """The kernel spread out over its span: one shifted image for each own tap, none for the zeros
    between.
    """
    kernel_size = weight.shape[2:]
    axes = len(kernel_size)
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    x = pad(x, resolve(padding, x.shape, kernel_size, stride, dilation))
    steps = [Axis(k, dilation=d) for k, d in zip(kernel_size, dilation, strict=True)]
    reach = [axis.output_size(n) for axis, n in zip(steps, x.shape[-axes:], strict=True)]
    y = x.new_zeros(())
    for position in product(*(range(axis.span) for axis in steps)):
        if any(p % d for p, d in zip(position, dilation, strict=True)):
            continue  # a zero between two taps
        shifted, tap = x, weight
        for axis, (p, n, d) in enumerate(zip(position, reach, dilation, strict=True)):
            shifted = shifted.narrow(axis - axes, p, n)
            tap = tap.narrow(axis - axes, p // d, 1)
        y = y + convolve(shifted, tap, None, stride, groups=groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _samples() -> list[Sample]:
    return [
        Sample(
            name="3x3, dilation 2, padding 2",
            layer=partial(Conv2d, 2, 3, 3, padding=2, dilation=2),
            twin=partial(nn.Conv2d, 2, 3, 3, padding=2, dilation=2),
            input_shape=(2, 2, 7, 9),
        ),
        Sample(
            name="3x2, dilation (1, 3), stride 2 'same'",
            layer=partial(Conv2d, 2, 3, (3, 2), stride=2, padding="same", dilation=(1, 3)),
            input_shape=(1, 2, 8, 7),
        ),
        Sample(
            name="1-D, dilation 4, no bias",
            layer=partial(Conv1d, 3, 2, 3, padding=((8, 0),), dilation=4, bias=False),
            input_shape=(2, 3, 11),
        ),
        Sample(
            name="3-D, dilation 2",
            layer=partial(Conv3d, 2, 2, 2, padding=(0, 1, 1), dilation=2),
            twin=partial(nn.Conv3d, 2, 2, 2, padding=(0, 1, 1), dilation=2),
            input_shape=(1, 2, 4, 3, 5),
        ),
    ]


register(
    Family(
        name="dilated",
        layers=LAYERS,
        ops=OPS,
        reference=reference,
        apply=apply,
        recognizes=recognizes,
        samples=_samples,
        source="Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, 2016, (2)",
    )
)
