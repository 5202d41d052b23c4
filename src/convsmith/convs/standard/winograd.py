# SPDX-License-Identifier: Apache-2.0
"""Winograd's kernels as a planner may choose them; see README.md, "The Winograd kernel"."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from convsmith import native
from convsmith.native.chains import Chain, ChainKernel, register_kernel
from convsmith.native.epilogue import activation_number
from convsmith.native.packed import pack_panels

# The widest panel of any target: rounded up to it, panels of every target fit.
_WIDEST_PANEL = 32


def _serves(chain: Chain, shape: tuple[int, ...]) -> bool:
    if len(chain.stages) != 1:
        return False
    geometry = chain.stages[0].geometry
    return geometry.kernel_size == (3, 3) and geometry.stride == (1, 1) and geometry.groups == 1


def _serves_pairs(chain: Chain, shape: tuple[int, ...]) -> bool:
    """Whether each phase has two pixels at most, and its outputs read these alone."""
    if not _serves(chain, shape):
        return False
    axes = chain.stages[0].axes(shape)
    sizes = zip(shape[2:], chain.output_shape(shape)[2:], axes, strict=True)
    return all(
        out <= 2 * axis.dilation
        and axis.before >= axis.dilation
        and n <= 3 * axis.dilation - axis.before
        for n, out, axis in sizes
    )


def pack(tile: int, weight: Tensor) -> Tensor:
    """U = G weight G^T of every pair of channels, in panels, for tiles of so many outputs a side.

    Args:
        tile: 2, 3 or 4; 1 for pairs, with 3 * 3 products for 2 * 2 outputs.
        weight: Shape (O, I, 3, 3), float32.

    Returns:
        (tile + 2)^2 I O floats, O rounded up.
    """
    outputs, inputs = weight.shape[:2]
    columns = -(-outputs // _WIDEST_PANEL) * _WIDEST_PANEL
    packed = weight.new_empty((tile + 2) ** 2 * inputs * columns)
    weight = weight.contiguous()
    native.run("winograd_pack", weight.data_ptr(), packed.data_ptr(), outputs, inputs, tile)
    return packed


def _pack(tile: int, chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [pack(tile, weights[0])]


def _pack_taps(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    """Panels of a matrix (out channels, (channels, taps)), which the kernel transforms itself."""
    return [pack_panels(weights[0].flatten(1))]


def _integers(
    tile: int, chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """The order of WinogradConv2dArgs in winograd.kernel.h, from `n` on."""
    stage = chain.stages[0]
    axes = stage.axes(shape)
    n, outputs, *out_size = chain.output_shape(shape)
    return (
        *(n, shape[1], outputs, *shape[2:]),
        *(strides[0], strides[2], strides[3]),
        *(*out_size, *(axis.before for axis in axes), *stage.geometry.dilation),
        tile,
        activation_number(stage.activation),
    )


for _name, _function, _tile, _packing in (
    ("winograd_pairs", "winograd_conv2d", 1, partial(_pack, 1)),
    ("winograd_2x2", "winograd_conv2d", 2, partial(_pack, 2)),
    ("winograd_3x3", "winograd_conv2d", 3, partial(_pack, 3)),
    ("winograd_4x4", "winograd_conv2d", 4, partial(_pack, 4)),
    ("winograd_4x4_few", "winograd_few_tiles", 4, _pack_taps),
):
    register_kernel(
        ChainKernel(
            name=_name,
            function=_function,
            serves=_serves_pairs if _tile == 1 else _serves,
            pack=_packing,
            integers=partial(_integers, _tile),
            takes_any_strides=False,
            is_direct=False,
        )
    )
