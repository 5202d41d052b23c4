# SPDX-License-Identifier: Apache-2.0
"""The direct kernel as a planner may choose it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convsmith.native.chains import Chain, ChainKernel, register_kernel
from convsmith.native.epilogue import activation_number
from convsmith.native.packed import pack_panels, panel_floats

# Fewer leave lanes of every panel idle.
_LEAST_CHANNELS_OF_A_GROUP = 16


def _serves(chain: Chain, shape: tuple[int, ...]) -> bool:
    if len(chain.stages) != 1:
        return False
    geometry = chain.stages[0].geometry
    per_group = geometry.out_channels // geometry.groups
    return geometry.groups == 1 or per_group >= _LEAST_CHANNELS_OF_A_GROUP


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    """For each group the panels of a matrix (out channels, (r, s, channels))."""
    groups = weights[0].chunk(chain.stages[0].geometry.groups)
    return [torch.stack([pack_panels(group.permute(0, 2, 3, 1).flatten(1)) for group in groups])]


def _integers(chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """The order of DirectConv2dArgs in direct.kernel.h, from `n` on."""
    stage = chain.stages[0]
    g = stage.geometry
    channels, outputs = g.in_channels // g.groups, g.out_channels // g.groups
    group_pitch = panel_floats(outputs, channels * g.kernel_size[0] * g.kernel_size[1])
    return (
        *(shape[0], g.groups, channels, outputs, *shape[2:], *strides, group_pitch),
        *(*g.kernel_size, *chain.output_shape(shape)[2:], *g.stride),
        *(*(axis.before for axis in g.axes(shape[2:])), *g.dilation),
        activation_number(stage.activation),
    )


register_kernel(
    ChainKernel(
        name="direct",
        function="direct_conv2d",
        serves=_serves,
        pack=_pack,
        integers=_integers,
        takes_any_strides=True,
        # Without neighbours the pointwise kernel packs nothing.
        preference=lambda chain, shape: int(chain.geometries[0].kernel_size != (1, 1)),
    )
)
