# SPDX-License-Identifier: Apache-2.0
"""The depthwise kernels as a planner may choose them; see README.md."""

from collections.abc import Sequence
from functools import partial
from math import prod

from torch import Tensor

from convsmith.convs.depthwise import core
from convsmith.convs.depthwise.depthwise import recognizes
from convsmith.native.chains import Chain, ChainKernel, register_kernel


def _serves(chain: Chain, shape: tuple[int, ...]) -> bool:
    return len(chain.stages) == 1 and recognizes(chain.stages[0].geometry)


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [core.pack(weights[0])]


def _integers(chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    stage = chain.stages[0]
    outputs = chain.output_shape(shape)
    return core.integers(shape, strides, outputs, stage.axes(shape), True, stage.activation)


register_kernel(
    ChainKernel(
        name="depthwise",
        function="depthwise_conv2d",
        serves=_serves,
        pack=_pack,
        integers=_integers,
        preference=lambda chain, shape: 1,
    )
)


# Wider maps do not fit the registers of any target; with fewer taps images are read in place.
_WIDEST_HALVES, _LEAST_TAPS = 14, 65


def _serves_halves(chain: Chain, shape: tuple[int, ...]) -> bool:
    """Whether each output's window covers an image of an even number of rows."""
    if not _serves_pieces((1, 1), chain, shape):
        return False
    stage = chain.stages[0]
    sizes = zip(shape[2:], chain.output_shape(shape)[2:], stage.axes(shape), strict=True)
    return (
        shape[2] % 2 == 0
        and shape[3] <= _WIDEST_HALVES
        and prod(stage.geometry.kernel_size) >= _LEAST_TAPS
        and all(n == out and n <= min(a.before + 1, a.kernel - a.before) for n, out, a in sizes)
    )


def _serves_pieces(least: tuple[int, int], chain: Chain, shape: tuple[int, ...]) -> bool:
    if not _serves(chain, shape):
        return False
    geometry = chain.stages[0].geometry
    steps = {*geometry.stride, *geometry.dilation}
    return steps == {1} and all(k >= n for k, n in zip(geometry.kernel_size, least, strict=True))


def _pack_pieces(cuts_rows: bool, chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [core.pack_winograd(weights[0], cuts_rows)]


register_kernel(
    ChainKernel(
        name="depthwise_halves",
        function="depthwise_halves",
        serves=_serves_halves,
        pack=_pack,
        integers=_integers,
        is_direct=False,
    )
)


# Smaller kernels win nothing: what turns the image would cost as much as their taps.
for _name, _function, _cuts_rows, _least in (
    ("depthwise_f1x4", "depthwise_winograd_1x4", False, (1, 8)),
    ("depthwise_f4x4", "depthwise_winograd_4x4", True, (12, 12)),
):
    register_kernel(
        ChainKernel(
            name=_name,
            function=_function,
            serves=partial(_serves_pieces, _least),
            pack=partial(_pack_pieces, _cuts_rows),
            integers=_integers,
            is_direct=False,
        )
    )
