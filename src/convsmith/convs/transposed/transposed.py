# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: every input pixel stamps the kernel on the output; overlaps are added.

    y[n, o, i stride - padding + r dilation] += weight[c, o, r] x[n, c, i]    for all c, i and r

Source: Dumoulin and Visin, A Guide to Convolution Arithmetic for Deep Learning, 2016, chapter 4;
Zeiler et al., Deconvolutional Networks, 2010.
"""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import (
    Ints,
    Padding,
    Pairs,
    TransposedAxis,
    TransposedGeometry,
    padding_pairs,
    per_axis,
    same_transposed_padding,
)

_TORCH_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
METHODS = ("gather", "stamp")


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The stamps of all input pixels, one kernel tap at a time, added up on a canvas.

    A pixel whose tap would land on what is cropped away counts as zero.
    """
    kernel_size = weight.shape[2:]
    axes = len(kernel_size)
    geometry = TransposedGeometry(
        in_channels=weight.shape[0],
        out_channels=weight.shape[1] * groups,
        kernel_size=tuple(kernel_size),
        stride=per_axis("stride", stride, axes),
        padding=padding_pairs(padding, axes),
        dilation=per_axis("dilation", dilation, axes),
        groups=groups,
        output_padding=per_axis("output_padding", output_padding, axes, least=0),
    )
    sizes = x.shape[-axes:]
    outputs = geometry.output_shape(x.shape)[-axes:]
    rows = list(zip(geometry.axes(sizes), sizes, outputs, strict=True))
    x = x.unflatten(-axes - 1, (groups, -1, 1))  # (n, g, i/g, 1, *sizes)
    weight = weight.unflatten(0, (groups, -1))  # (g, i/g, o/g, *kernel)
    # Long enough for every stamp; the output is a part of it.
    canvas_sizes = [max((n - 1) * axis.stride + axis.span, axis.before + m) for axis, n, m in rows]
    canvas = x.new_zeros(*x.shape[: -axes - 3], groups, weight.shape[2], *canvas_sizes)
    for tap in product(*map(range, kernel_size)):
        pixels = torch.where(_lands_inside(rows, tap, x.device), x, 0)
        tap_weight = weight[(slice(None),) * 3 + tap].reshape(*weight.shape[:3], *(1,) * axes)
        stamps = (pixels * tap_weight).sum(-axes - 2)  # (n, g, o/g, *sizes)
        marks = tuple(
            slice(r * axis.dilation, r * axis.dilation + (n - 1) * axis.stride + 1, axis.stride)
            for r, (axis, n, _) in zip(tap, rows, strict=True)
        )
        canvas[(slice(None),) * (canvas.ndim - axes) + marks] += stamps
    kept = tuple(slice(axis.before, axis.before + m) for axis, _, m in rows)
    y = canvas[(slice(None),) * (canvas.ndim - axes) + kept].flatten(-axes - 2, -axes - 1)
    return y if bias is None else y + bias.reshape(-1, *(1,) * axes)


def _lands_inside(
    rows: Sequence[tuple[TransposedAxis, int, int]], tap: Sequence[int], device: torch.device
) -> Tensor:
    """For every pixel, whether this tap of its stamp lands on the output."""
    inside = torch.ones((), dtype=torch.bool, device=device)
    for r, (axis, size, outputs) in zip(tap, rows, strict=True):
        landing = torch.arange(size, device=device) * axis.stride + (
            r * axis.dilation - axis.before
        )
        inside = inside.unsqueeze(-1) & (landing >= 0) & (landing < outputs)
    return inside


def crops(
    padding: Padding,
    output_padding: Ints,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Pairs, tuple[int, ...]]:
    """What is cropped (before, after) and added at the end, per axis; 'same' settles both.

    Raises:
        ShapeError: if 'same' meets an output padding, or a number is negative or missing.
    """
    axes = len(kernel_size)
    pairs = padding_pairs(padding, axes)
    added = per_axis("output_padding", output_padding, axes, least=0)
    if pairs != "same":
        return pairs, added
    if any(added):
        raise ShapeError(
            f"output_padding {added} must be 0 beside padding 'same', which chooses its own"
        )
    rows = zip(kernel_size, stride, dilation, strict=True)
    same = [same_transposed_padding(*row) for row in rows]
    return tuple((before, after) for before, after, _ in same), tuple(more for *_, more in same)


def checked_method(method: str) -> str:
    """`method` itself.

    Raises:
        ArgumentError: if it is no way to compute a transposed convolution.
    """
    if method not in METHODS:
        raise ArgumentError(f"method: {method!r} must be one of {METHODS}")
    return method


def transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    pairs: Pairs,
    added: Sequence[int],
    groups: int,
    dilation: Sequence[int],
    method: str,
) -> Tensor:
    """The transposed convolution with everything per axis. torch crops both sides alike; what one
    side has more of is cut off its result.
    """
    if method == "stamp":
        return reference(x, weight, bias, stride, pairs, added, groups, dilation)
    axes = len(pairs)
    alike = tuple(min(pair) for pair in pairs)
    y = _TORCH_CONV_TRANSPOSE[axes](x, weight, bias, stride, alike, added, groups, dilation)
    for axis, (before, after) in enumerate(pairs, start=-axes):
        if before == after:
            continue
        first = before - min(before, after)
        kept = y.shape[axis] - abs(before - after)
        if kept < 1:
            raise ShapeError(
                f"conv_transpose{axes}d: nothing is left of {y.shape[axis]} outputs along axis "
                f"{axis} when {abs(before - after)} more are cropped on one side (padding "
                f"{pairs}); crop less"
            )
        y = y.narrow(axis, first, kept)
    return y


def _resolved(
    axes: int,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
    method: str,
) -> Tensor:
    steps, rates = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    if weight.ndim != axes + 2:
        raise ShapeError(
            f"conv_transpose{axes}d: weight {tuple(weight.shape)} has {weight.ndim} dimensions; "
            f"{axes} spatial axes need {axes + 2} (in_channels, out_channels/groups, ...)"
        )
    pairs, added = crops(padding, output_padding, weight.shape[2:], steps, rates)
    return transpose(x, weight, bias, steps, pairs, added, groups, rates, checked_method(method))


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    method: str = "gather",
) -> Tensor:
    """`conv_transpose2d` along one axis: x (n, c, l), weight (c, o/groups, k), result (n, o, l').

    >>> x, weight = torch.tensor([[[1.0, 10]]]), torch.tensor([[[1.0, 2, 3]]])
    >>> conv_transpose1d(x, weight, stride=2)
    tensor([[[ 1.,  2., 13., 20., 30.]]])
    """
    return _resolved(1, x, weight, bias, stride, padding, output_padding, groups, dilation, method)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    method: str = "gather",
) -> Tensor:
    """Stamp the kernel on the output at every input pixel, `stride` apart; overlaps are added.

    y[n, o, i*stride - padding + r*dilation, ...] += weight[c, o, r, s] x[n, c, i, j]

    It is the gradient of `conv2d` with respect to its input, as a layer.

    Args:
        x: Input, shape (n, c, h, w) or (c, h, w). Any floating dtype.
        weight: Filters, shape (c, o/groups, kh, kw).
        bias: One number per output channel, shape (o,).
        stride: Output pixels from one stamp to the next; an int or one per axis.
        padding: Output pixels cropped: an int, one int or one (before, after) pair per axis,
            'valid' (none), or 'same' (output size input * stride).
        output_padding: Output pixels kept beyond the last stamp, fewer than stride or dilation.
        groups: Parts the channels are split into.
        dilation: Output pixels from one tap of a stamp to the next.
        method: "gather" sums for each output what reaches it (torch's kernel); "stamp" adds up
            stamps as the formula reads, slowly, for teaching and testing.

    Returns:
        Shape (n, o, h', w'), h' = (h - 1) stride - padding before and after + dilation (kh - 1) + 1
        + output_padding. A view where the two sides are cropped differently.

    Raises:
        ShapeError: if an option is negative or of the wrong length, nothing is left of the output,
            or 'same' meets an output padding. Shapes that do not fit raise torch's RuntimeError.
        ArgumentError: if `method` is another word.

    Cost: n c h w o/groups kh kw macs: of the input's size, whatever the stride.
    Source: Dumoulin and Visin 2016, chapter 4.

    >>> conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4), stride=3)[0, 0, 3]
    tensor([2., 2., 2., 4., 2., 2., 2.])
    """
    return _resolved(2, x, weight, bias, stride, padding, output_padding, groups, dilation, method)


def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    method: str = "gather",
) -> Tensor:
    """`conv_transpose2d` along three axes.

    >>> x, weight = torch.ones(1, 2, 2, 3, 4), torch.ones(2, 5, 4, 4, 4)
    >>> conv_transpose3d(x, weight, stride=2, padding="same").shape
    torch.Size([1, 5, 4, 6, 8])
    """
    return _resolved(3, x, weight, bias, stride, padding, output_padding, groups, dilation, method)
