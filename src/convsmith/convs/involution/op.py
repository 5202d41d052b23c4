# SPDX-License-Identifier: Apache-2.0
"""Involution's multiply-add: the kernels are an input, one for each place and group of channels.

    y[n, c, i, j] = sum_{r,s} kernels[n, g, r*k_w + s, i, j]
                              * x[n, c, i*s_h + r*d_h - top, j*s_w + s*d_w - left]

with g = c // (C / G). The sum runs over the taps that read the image. A tap that falls on padding
is skipped, so whatever value the kernel has there does not matter.

The compiled core sums float32 on the CPU; everything else, and every gradient, is the loop over
taps below. `torch.ops.convsmith.involution2d` is the same function to compile, export and autograd.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from convsmith import native
from convsmith.errors import ShapeError
from convsmith.geometry import Axis

_HALF = (torch.float16, torch.bfloat16)


def multiply_add(
    x: Tensor,
    kernels: Tensor,
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """The formula above, by the shortest way that is right.

    Args:
        x: Input, shape (N, C, H, W).
        kernels: Shape (N, G, k_h * k_w, H_out, W_out); G divides C.
        kernel_size: (k_h, k_w); so are stride and dilation.
        padding: Zeros (top, bottom, left, right).

    Returns:
        Shape (N, C, H_out, W_out), in the dtype that x and kernels promote to.

    Raises:
        ShapeError: if the shapes do not fit together.

    Cost: N * C * H_out * W_out * k_h * k_w macs.

    >>> x, kernels = torch.ones(1, 4, 3, 3), torch.ones(1, 2, 9, 3, 3)
    >>> options = {"stride": (1, 1), "padding": (1, 1, 1, 1), "dilation": (1, 1)}
    >>> multiply_add(x, kernels, kernel_size=(3, 3), **options)[0, 0].int().tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    options = (kernel_size, stride, padding, dilation)
    if _core_serves(x, kernels) and native.call_directly(x, kernels):
        return _by_core(x, kernels, *_axes(*options))
    return torch.ops.convsmith.involution2d(x, kernels, *options)


def _axes(
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Axis, Axis]:
    top, bottom, left, right = padding
    return (
        Axis(kernel_size[0], stride[0], top, bottom, dilation[0]),
        Axis(kernel_size[1], stride[1], left, right, dilation[1]),
    )


def _core_serves(x: Tensor, kernels: Tensor) -> bool:
    return native.available() and x.dtype == kernels.dtype == torch.float32


def _by_core(x: Tensor, kernels: Tensor, rows: Axis, columns: Axis) -> Tensor:
    shape = _output_shape(x, kernels, rows, columns)
    x, kernels, y = x.contiguous(), kernels.contiguous(), native.new_output(x, shape)
    # The order of Involution2dArgs in involution.kernel.h.
    native.run(
        "involution2d",
        *(x.data_ptr(), kernels.data_ptr(), y.data_ptr()),
        *(*x.shape, kernels.shape[1], rows.kernel, columns.kernel, *shape[2:]),
        *(rows.stride, columns.stride, rows.before, columns.before),
        *(rows.dilation, columns.dilation),
    )
    return y


def _by_taps(x: Tensor, kernels: Tensor, rows: Axis, columns: Axis) -> Tensor:
    shape = _output_shape(x, kernels, rows, columns)
    dtype = torch.promote_types(x.dtype, kernels.dtype)
    wide_x, wide_kernels = _widened(x), _widened(kernels)
    grouped_x = _grouped(wide_x, kernels)
    wide_dtype = torch.promote_types(wide_x.dtype, wide_kernels.dtype)
    sums = _grouped(x.new_zeros(shape, dtype=wide_dtype), kernels)
    for tap, out, read in _live_taps(x, kernels, rows, columns):
        sums[out] += wide_kernels[:, :, tap, None][out] * grouped_x[read]
    return sums.reshape(shape).to(dtype)


def _output_shape(x: Tensor, kernels: Tensor, rows: Axis, columns: Axis) -> tuple[int, ...]:
    n, c, h, w = x.shape
    groups, taps = kernels.shape[1], rows.kernel * columns.kernel
    out_h, out_w = rows.output_size(h), columns.output_size(w)
    if groups == 0 or c % groups or kernels.shape != (n, groups, taps, out_h, out_w):
        raise ShapeError(
            f"involution2d: kernels {tuple(kernels.shape)} do not fit x {tuple(x.shape)} with a "
            f"{rows.kernel}x{columns.kernel} kernel; they must be ({n}, G, {taps}, {out_h}, "
            f"{out_w}) where G divides the {c} channels."
        )
    return n, c, out_h, out_w


def _widened(t: Tensor) -> Tensor:
    """Half precision is summed in float32, and rounded once at the end."""
    return t.float() if t.dtype in _HALF else t


def _grouped(maps: Tensor, kernels: Tensor) -> Tensor:
    """(N, C, H, W) as (N, G, C / G, H, W), to stand beside one tap, (N, G, 1, H, W)."""
    n, c, h, w = maps.shape
    groups = kernels.shape[1]
    return maps.reshape(n, groups, c // groups, h, w)


def _live_taps(
    x: Tensor, kernels: Tensor, rows: Axis, columns: Axis
) -> Iterator[tuple[int, Any, Any]]:
    """Each tap that reads the image: its number, the outputs it adds to, the inputs it reads."""
    for r in range(rows.kernel):
        live_rows = _live_range(rows, r, x.shape[2], kernels.shape[3])
        for s in range(columns.kernel):
            live_columns = _live_range(columns, s, x.shape[3], kernels.shape[4])
            if live_rows and live_columns:
                out, read = zip(live_rows, live_columns, strict=True)
                yield r * columns.kernel + s, (..., *out), (..., *read)


def _live_range(axis: Axis, tap: int, size: int, outputs: int) -> tuple[slice, slice] | None:
    """The outputs j with 0 <= j*stride + offset < size, and the positions that they read."""
    offset = tap * axis.dilation - axis.before
    first = max(0, -(offset // axis.stride))
    last = min(outputs - 1, (size - 1 - offset) // axis.stride)
    if first > last:
        return None
    start, stop = first * axis.stride + offset, last * axis.stride + offset + 1
    return slice(first, last + 1), slice(start, stop, axis.stride)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, kernels, *options = inputs
    ctx.save_for_backward(x, kernels)
    ctx.axes = _axes(*options)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, kernels = ctx.saved_tensors
    grouped_x, grouped_grad = _grouped(_widened(x), kernels), _grouped(_widened(grad), kernels)
    wide_kernels = _widened(kernels)
    grad_x, grad_kernels = torch.zeros_like(grouped_x), torch.zeros_like(wide_kernels)
    for tap, out, read in _live_taps(x, kernels, *ctx.axes):
        if ctx.needs_input_grad[0]:
            grad_x[read] += wide_kernels[:, :, tap, None][out] * grouped_grad[out]
        if ctx.needs_input_grad[1]:
            grad_kernels[:, :, tap][out] += (grouped_x[read] * grouped_grad[out]).sum(2)
    return grad_x.reshape(x.shape).to(x.dtype), grad_kernels.to(kernels.dtype), *[None] * 4


def _cpu(x: Tensor, kernels: Tensor, *options: Sequence[int]) -> Tensor:
    way = _by_core if _core_serves(x, kernels) else _by_taps
    return way(x, kernels, *_axes(*options))


def _any_device(x: Tensor, kernels: Tensor, *options: Sequence[int]) -> Tensor:
    return _by_taps(x, kernels, *_axes(*options))


def _fake(x: Tensor, kernels: Tensor, *options: Sequence[int]) -> Tensor:
    dtype = torch.promote_types(x.dtype, kernels.dtype)
    return x.new_empty(_output_shape(x, kernels, *_axes(*options)), dtype=dtype)


def _flops(x_shape: Sequence[int], kernels_shape: Sequence[int], *_: Any, **__: Any) -> int:
    """torch's unit: two for each multiply-add."""
    n, c, *_image = x_shape
    taps, out_h, out_w = kernels_shape[2:]
    return 2 * n * c * taps * out_h * out_w


_library = torch.library.Library("convsmith", "FRAGMENT")
_library.define(
    # SymInt: 'same' with a stride pads by the parity of the size, which an export leaves free
    "involution2d(Tensor x, Tensor kernels, int[2] kernel_size, int[2] stride, SymInt[4] padding, "
    "int[2] dilation) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.impl("involution2d", _any_device, "CompositeExplicitAutograd")
_library.impl("involution2d", _cpu, "CPU")
torch.library.register_fake("convsmith::involution2d", _fake, lib=_library)
torch.library.register_autograd(
    "convsmith::involution2d", _backward, setup_context=_setup_context, lib=_library
)
register_flop_formula(torch.ops.convsmith.involution2d)(_flops)
