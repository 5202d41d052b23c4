# SPDX-License-Identifier: Apache-2.0
"""The depthwise kernels as a planner may choose them; see README.md."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from convsmith.convs.depthwise import core
from convsmith.convs.depthwise.depthwise import recognizes
from convsmith.geometry import Axis
from convsmith.native.chains import Chain, ChainKernel, register_kernel


def _serves(chain: Chain, shape: tuple[int, ...]) -> bool:
    return len(chain.stages) == 1 and recognizes(chain.stages[0].geometry)


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [core.pack(weights[0])]


def _integers(chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    stage = chain.stages[0]
    axes = [axis for axis in stage.geometry.axes(shape[2:]) if isinstance(axis, Axis)]
    return core.integers(shape, strides, chain.output_shape(shape), axes, True, stage.activation)


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


def _serves_pieces(least: tuple[int, int], chain: Chain, shape: tuple[int, ...]) -> bool:
    if not _serves(chain, shape):
        return False
    geometry = chain.stages[0].geometry
    steps = {*geometry.stride, *geometry.dilation}
    return steps == {1} and all(k >= n for k, n in zip(geometry.kernel_size, least, strict=True))


def _pack_pieces(cuts_rows: bool, chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [core.pack_winograd(weights[0], cuts_rows)]


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
