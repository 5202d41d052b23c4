# SPDX-License-Identifier: Apache-2.0
"""Max unpooling: each value goes back to the place it was taken from, zeros elsewhere."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.compiler import is_compiling

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry import TransposedAxis

_AXES = ("depth", "row", "column")


def place(
    x: Tensor, indices: Tensor, size: Sequence[int], windows: Sequence[TransposedAxis]
) -> Tensor:
    """A plane of zeros for each channel with x[n, c, p] at the place that indices[n, c, p] counts
    row by row, somewhere in the window of p.

    Raises:
        ArgumentError: if indices are not int64.
        ShapeError: if x and indices differ in shape, or an index is outside the plane or its own
            window. The index itself is checked where it can be read: not under `torch.compile`,
            `torch.export` and `torch.vmap`.
    """
    if indices.dtype != torch.int64:
        raise ArgumentError(
            f"unpooling: indices are {indices.dtype}; they must be torch.int64, as pooling with "
            "return_indices=True makes them"
        )
    if indices.shape != x.shape:
        raise ShapeError(
            f"unpooling: indices {tuple(indices.shape)} and x {tuple(x.shape)} must have the same "
            "shape: one place for each value"
        )
    if _can_be_read(indices) and indices.numel():
        _check_range(indices, size)
        _check_windows(indices, size, windows)
    first = x.ndim - len(size)
    values = x.flatten(first)
    plane = values.new_zeros(*values.shape[:-1], prod(size))
    return plane.scatter(-1, indices.flatten(first), values).unflatten(-1, tuple(size))


def _can_be_read(indices: Tensor) -> bool:
    plain = type(indices) is Tensor and not indices.is_meta
    return plain and not is_compiling() and not is_functorch_wrapped_tensor(indices)


def _check_range(indices: Tensor, size: Sequence[int]) -> None:
    least, greatest = torch.aminmax(indices)
    if least >= 0 and greatest < prod(size):
        return
    where = ((indices < 0) | (indices >= prod(size))).nonzero()[0].tolist()
    raise ShapeError(
        f"unpooling: indices{where} is {indices[tuple(where)].item()}, but a plane of "
        f"{' x '.join(map(str, size))} has the places 0 to {prod(size) - 1}; give the indices of "
        "the pooling that made x, and its input size as output_size if it was not a whole number "
        "of pools"
    )


def _check_windows(indices: Tensor, size: Sequence[int], windows: Sequence[TransposedAxis]) -> None:
    stray = torch.zeros_like(indices, dtype=torch.bool)
    for axis, (at, window) in enumerate(
        zip(torch.unravel_index(indices, tuple(size)), windows, strict=True), -len(size)
    ):
        pools = torch.arange(indices.shape[axis], device=indices.device)
        first = (pools * window.stride - window.before).reshape(-1, *[1] * (-1 - axis))
        stray |= (at < first) | (at >= first + window.span)
    if stray.any():
        raise _stray(indices, stray.nonzero()[0].tolist(), size, windows)


def _stray(
    indices: Tensor, where: list[int], size: Sequence[int], windows: Sequence[TransposedAxis]
) -> ShapeError:
    index = indices[tuple(where)]
    names, pool = _AXES[-len(size) :], where[-len(size) :]
    at = torch.unravel_index(index, tuple(size))
    found = [f"{name} {place.item()}" for name, place in zip(names, at, strict=True)]
    firsts = [p * window.stride - window.before for p, window in zip(pool, windows, strict=True)]
    covered = [
        f"{name}s {first} to {first + window.span - 1}"
        for name, first, window in zip(names, firsts, windows, strict=True)
    ]
    return ShapeError(
        f"unpooling: indices{where} is {index.item()}, {', '.join(found)} of a plane of "
        f"{' x '.join(map(str, size))}, but its pool covers {', '.join(covered)}; give the indices "
        "of the pooling that made x, its kernel, stride and padding as pool, pool_stride and "
        "pool_padding, and its input size as output_size if it was not a whole number of pools"
    )
