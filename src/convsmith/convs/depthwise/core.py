# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution by the compiled core: when it may be used, and how it is called."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.compiler import is_compiling

from convsmith import native
from convsmith.geometry import Axis
from convsmith.native.epilogue import activation_number
from convsmith.native.layout import is_channels_last
from convsmith.native.packed import packed

# The most lanes of any target: rounded up to it, the packed weights of every target fit.
_MOST_LANES = 16

_LEAST_MACS = 1_800_000


def serves(x: Tensor, weight: Tensor, bias: Tensor | None, channels: int) -> bool:
    """Whether the core computes this, and nothing but the core would see it.

    float32 in one or two spatial axes, with a batch axis, and shapes that fit together: whatever
    does not fit is left to torch and its messages.
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if not (native.available() and native.call_directly(*tensors)):
        return False
    filters, *rest = weight.shape
    return (
        all(tensor.dtype == torch.float32 for tensor in tensors)
        and x.ndim == weight.ndim in (3, 4)
        and x.shape[1] == channels
        and rest[0] == 1
        and filters >= channels >= 1
        and filters % channels == 0
        and (bias is None or bias.shape == (filters,))
    )


def may_be_faster(x: Tensor, weight: Tensor) -> bool:
    """What `is_faster` knows before the windows: smaller work would show the call itself."""
    # is_compiling() comes first: what follows would pin the sizes of a compiled graph. What stands
    # for a tensor while torch.fx traces has no sizes to compare.
    if is_compiling() or not isinstance(x, Tensor) or x.ndim != 4:
        return False
    channels = x.shape[1]
    return channels >= 32 and x.numel() // channels * weight.numel() >= _LEAST_MACS


def is_faster(x: Tensor, weight: Tensor, axes: Sequence[Axis]) -> bool:
    """The fixed rule, measured by bench/depthwise.py.

    Torch falls off its fast path with a depth multiplier, and where the window reaches more than
    six columns into the padding. Else ours has to have a tile that slides along the row: then it is
    faster on a contiguous image, and with large windows at stride 1 in channels last too.
    """
    channels, columns = x.shape[1], axes[-1]
    macs = weight.numel() * x.shape[0] * prod(n // a.stride for n, a in _sizes(x, axes))
    if not may_be_faster(x, weight) or macs < _LEAST_MACS:
        return False
    if len(weight) > channels or columns.before > 6:
        return True
    slides = columns.kernel in (3, 5) or (
        columns.stride == 1 and (columns.kernel == 7 or columns.kernel > 10)
    )
    if columns.stride > 2 or not slides:
        return False
    is_large = all(a.kernel >= 5 and a.stride == a.dilation == 1 for a in axes)
    return is_large or not is_channels_last(x)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    axes: Sequence[Axis],
    activation: str = "none",
) -> Tensor | None:
    """activation(bias + the sum over the taps that read the image, row by row).

    The result lies in memory as torch would lay it. None if the input is smaller than the window,
    of which torch knows best what to say.

    Args:
        x: Input that `serves` accepts, any strides.
        weight: (c * m, 1, kh, kw) or (c * m, 1, k).
        bias: (c * m,) or None.
        axes: Kernel, stride, padding and dilation of each axis.
        activation: One of native.epilogue.ACTIVATIONS.

    >>> x, weight = torch.ones(1, 2, 4), torch.ones(2, 1, 3)
    >>> convolve(x, weight, None, [Axis(3, 1, 1, 1, 1)]).tolist()
    [[[2.0, 3.0, 3.0, 2.0], [2.0, 3.0, 3.0, 2.0]]]
    """
    if any(a.before + n + a.after <= (a.kernel - 1) * a.dilation for n, a in _sizes(x, axes)):
        return None
    if len(axes) == 1:
        planes = convolve(
            x.unsqueeze(2), weight.unsqueeze(2), bias, [Axis(1, 1, 0, 0, 1), *axes], activation
        )
        return None if planes is None else planes.squeeze(2)

    shape = (x.shape[0], weight.shape[0], *(a.output_size(n) for n, a in _sizes(x, axes)))
    channels_last = is_channels_last(x) or is_channels_last(weight)
    y = _new_output(x, shape, channels_last)
    weights = packed(weight, pack)
    native.run(
        "depthwise_conv2d",
        *(x.data_ptr(), weights.data_ptr(), 0 if bias is None else bias.contiguous().data_ptr()),
        *(0, y.data_ptr()),
        *integers(x.shape, x.stride(), shape, axes, channels_last, activation),
    )
    return y


def integers(
    shape: Sequence[int],
    strides: Sequence[int],
    output_shape: Sequence[int],
    axes: Sequence[Axis],
    channels_last: bool,
    activation: str,
) -> tuple[int, ...]:
    """The order of DepthwiseConv2dArgs in depthwise.kernel.h, from `n` on, but for the threads."""
    rows, columns = axes
    return (
        *(*shape, *strides),
        *(output_shape[1] // shape[1], rows.kernel, columns.kernel, *output_shape[2:]),
        *(rows.stride, columns.stride, rows.before, columns.before),
        *(rows.dilation, columns.dilation),
        *(int(channels_last), activation_number(activation)),
    )


def _sizes(x: Tensor, axes: Sequence[Axis]) -> list[tuple[int, Axis]]:
    return list(zip(x.shape[2:], axes, strict=True))


def pack(weight: Tensor) -> Tensor:
    """Filters (o, 1, kh, kw) in blocks of a vector's lanes, tap by tap, for the target in use."""
    weight = weight.contiguous()
    filters, taps = len(weight), weight[0].numel()
    result = weight.new_empty(-(-filters // _MOST_LANES) * _MOST_LANES * taps)
    native.run("depthwise_pack", weight.data_ptr(), result.data_ptr(), filters, taps)
    return result


def pack_winograd(weight: Tensor, cuts_rows: bool) -> Tensor:
    """Filters (o, 1, kh, kw) in pieces of four taps, transformed, as depthwise_winograd reads them.

    Args:
        weight: Float32.
        cuts_rows: Pieces of 4x4 taps, of 1x4 if not.
    """
    weight = weight.contiguous()
    filters, (rows, columns) = len(weight), weight.shape[2:]
    blocks, pieces = -(-filters // _MOST_LANES), -(-columns // 4)
    positions = 49 * -(-rows // 4) if cuts_rows else 7 * rows
    result = weight.new_empty(blocks * _MOST_LANES * positions * pieces)
    addresses = (weight.data_ptr(), result.data_ptr())
    native.run("depthwise_winograd_pack", *addresses, filters, rows, columns, int(cuts_rows))
    return result


def _new_output(x: Tensor, shape: tuple[int, ...], channels_last: bool) -> Tensor:
    if not channels_last:
        return native.new_output(x, shape)
    n, channels, *image = shape
    return native.new_output(x, (n, *image, channels)).movedim(3, 1)
