# SPDX-License-Identifier: Apache-2.0
"""Padding a tensor by pairs per axis, as every family does it."""

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import Padding, Pairs, padding_pairs, same_padding, span

MODES = ("zeros", "reflect", "replicate", "circular")


def checked_mode(mode: str) -> str:
    """A layer's `padding_mode`, one of torch's.

    Raises:
        ArgumentError: if it is none of them.
    """
    if mode not in MODES:
        raise ArgumentError(f"padding_mode: {mode!r} must be one of {', '.join(MODES)}")
    return mode


def resolve(
    padding: Padding,
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:
    """(before, after) per axis for an input of this shape; 'same' with any stride.

    Raises:
        ShapeError: if 'same' meets an input or a kernel of another number of axes, or an int64
            cannot hold the kernel's span (torch would compute something else).
    """
    axes = len(stride)
    for kernel, step in zip(kernel_size, dilation, strict=False):  # torch refuses another rank
        span(kernel, step)
    pairs = padding_pairs(padding, axes)
    if pairs != "same":
        return pairs
    if len(shape) not in (axes + 1, axes + 2) or len(kernel_size) != axes:
        raise ShapeError(
            f"padding 'same': input {tuple(shape)} and kernel {tuple(kernel_size)} do not have "
            f"{axes} spatial axes"
        )
    sizes = shape[-axes:]
    return tuple(
        same_padding(*row) for row in zip(sizes, kernel_size, stride, dilation, strict=True)
    )


def pad(x: Tensor, pairs: Pairs, mode: str = "zeros") -> Tensor:
    """x with its last axes padded; `mode` as `padding_mode` of torch's layers."""
    amounts = [amount for pair in reversed(pairs) for amount in pair]
    return F.pad(x, amounts, mode="constant" if mode == "zeros" else mode)


def symmetric(pairs: Pairs) -> tuple[int, ...] | None:
    """One amount per axis where both sides are alike, known without a guard on a symbolic size;
    else None.
    """
    if all(
        isinstance(before, int) and isinstance(after, int) and before == after
        for before, after in pairs
    ):
        return tuple(before for before, _ in pairs)
    return None


def as_torch(pairs: Pairs | Literal["same"]) -> Any:
    """The value of a layer's `padding` attribute: torch's own form where torch has one."""
    return pairs if pairs == "same" else symmetric(pairs) or pairs
