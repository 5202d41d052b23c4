# SPDX-License-Identifier: Apache-2.0
"""The kernel of small groups as a planner may choose it."""

from collections.abc import Sequence

from torch import Tensor

from convsmith import native
from convsmith.native.chains import Chain, ChainKernel, register_kernel
from convsmith.native.epilogue import activation_number

Ints = tuple[int, ...]

# Channels of a group for which the kernel was compiled.
_SIZES = (2, 4, 8, 16)

# The most lanes of any target: rounded up to them, weights of every target fit.
_MOST_LANES = 16


def _serves(chain: Chain, shape: Ints) -> bool:
    if len(chain.stages) != 1:
        return False
    g = chain.stages[0].geometry
    return g.in_channels == g.out_channels and g.in_channels // g.groups in _SIZES


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    weight = weights[0].contiguous()
    channels, group = weight.shape[:2]
    taps = weight[0, 0].numel()
    packed = weight.new_empty(-(-channels // _MOST_LANES) * _MOST_LANES * group * taps)
    native.run("grouped_pack", weight.data_ptr(), packed.data_ptr(), channels, group, taps)
    return [packed]


def _integers(chain: Chain, shape: Ints, strides: Ints) -> Ints:
    """The order of GroupedConv2dArgs in grouped.kernel.h, from `n` on."""
    stage = chain.stages[0]
    g = stage.geometry
    n, channels, *image = shape
    return (
        *(n, channels, g.in_channels // g.groups, *image, strides[0], *strides[2:]),
        *(*g.kernel_size, *chain.output_shape(shape)[2:], *g.stride),
        *(*(axis.before for axis in stage.axes(shape)), *g.dilation),
        activation_number(stage.activation),
    )


register_kernel(
    ChainKernel(
        name="grouped",
        function="grouped_conv2d",
        serves=_serves,
        pack=_pack,
        integers=_integers,
        takes_any_strides=False,
        preference=lambda chain, shape: 2 if chain.geometries[0].groups > 1 else 0,
    )
)
