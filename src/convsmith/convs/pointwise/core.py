# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution and linear layers by the compiled core, for inference.

    y[n, o, p] = activation(sum_i weight[o, i] x[n, i, p stride] + bias[o] + residual[n, o, p])

The sum takes i in ascending order in one float32 accumulator, whatever the layout, the tiles and
the number of threads.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.compiler import is_compiling

from convsmith import native
from convsmith.native.epilogue import activation_number
from convsmith.native.layout import CHANNELS_LAST, is_channels_last
from convsmith.native.packed import pack_panels, packed


def serves(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> bool:
    """Whether these go to the core: nothing watches, the shapes fit, and it is no slower."""
    # is_compiling() comes first: what follows would pin the sizes of a compiled graph.
    if is_compiling() or not native.available() or not _is_no_slower(x, weight, stride):
        return False
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return (
        native.is_unwatched(*tensors)
        and all(t.dtype == torch.float32 for t in tensors)
        and (bias is None or bias.shape == weight.shape[:1])
    )


def _is_no_slower(x: Tensor, weight: Tensor, stride: Sequence[int]) -> bool:
    """The fixed rule, measured by bench/pointwise.py: channels last, with enough pixels.

    The kernel alone is a tenth faster than torch, and more at a stride. What a call adds, some
    15 us and one reading of the weights to know them again, must disappear beside it.
    """
    # What stands for a tensor while torch.fx traces has no sizes to compare.
    if not isinstance(x, Tensor) or x.ndim != weight.ndim or x.shape[1] != weight.shape[1]:
        return False
    pixels = x.shape[0] * prod(-(-size // s) for size, s in zip(x.shape[2:], stride, strict=True))
    macs = pixels * weight.numel()
    strides = any(s != 1 for s in stride)
    least_pixels, least_macs = (784, 2_000_000) if strides else (3136, 6_000_000)
    return pixels >= least_pixels and macs >= least_macs and is_channels_last(x)


def mix_channels(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    *,
    activation: str = "none",
    residual: Tensor | None = None,
    panels: Tensor | None = None,
) -> Tensor:
    """The formula above; the caller has asked `serves`, or knows.

    Args:
        x: Shape (n, c, ...) with one to three spatial axes, float32, any strides.
        weight: Shape (o, c, 1, ...), one 1 for each spatial axis.
        bias: Shape (o,).
        stride: One for each spatial axis.
        activation: One of `native.epilogue.ACTIVATIONS`.
        residual: Shape of the result.
        panels: `pack_panels(weight)`, by a caller whose weights never change: saves looking at
            them in channels last.

    Returns:
        Shape (n, o, ...), in the memory format that torch's convolution would give.
    """
    outputs = tuple(-(-size // s) for size, s in zip(x.shape[2:], stride, strict=True))
    shape = (x.shape[0], weight.shape[0], *outputs)
    # The kernel knows three spatial axes, and a stride as strides of x.
    leading = (1,) * (3 - len(outputs))
    if is_channels_last(x) or is_channels_last(weight):
        kernel = "pointwise_channels_last"
        weight = packed(weight, pack_panels) if panels is None else panels
        y = native.new_output(x, shape, memory_format=CHANNELS_LAST[x.ndim])
        if x.stride(1) != 1:
            x = x.contiguous(memory_format=CHANNELS_LAST[x.ndim])
    else:
        kernel, weight = "pointwise_contiguous", weight.contiguous()
        y = native.new_output(x, shape)
    if residual is not None and residual.stride() != y.stride():
        residual = torch.empty_like(y).copy_(residual)
    steps = (step * s for step, s in zip(x.stride()[2:], stride, strict=True))
    # The order of PointwiseArgs in pointwise.kernel.h.
    native.run(
        kernel,
        *(x.data_ptr(), weight.data_ptr(), _address(bias), _address(residual), y.data_ptr()),
        *(x.shape[0], x.shape[1], shape[1], *leading, *outputs),
        *(*x.stride()[:2], *leading, *steps),
        activation_number(activation),
    )
    return y


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    """y[m, o] = activation(sum_i weight[o, i] x[m, i] + bias[o]): every row of x is a pixel.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """
    if x.stride(1) != 1:
        x = x.contiguous()
    y = native.new_output(x, (x.shape[0], weight.shape[0]))
    weight = packed(weight, pack_panels)
    native.run(
        "pointwise_channels_last",
        *(x.data_ptr(), weight.data_ptr(), _address(bias), 0, y.data_ptr()),
        *(1, x.shape[1], y.shape[1], 1, 1, x.shape[0]),
        *(0, 1, 0, 0, x.stride(0)),
        activation_number(activation),
    )
    return y


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()
