# SPDX-License-Identifier: Apache-2.0
"""The depthwise kernel as a planner may choose it."""

from collections.abc import Sequence

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
