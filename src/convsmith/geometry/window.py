# SPDX-License-Identifier: Apache-2.0
"""What convolution and pooling share: a window of taps that slides along 1 to 3 axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry.axis import Axis, TransposedAxis, same_padding, span
from convsmith.geometry.cone import Cone
from convsmith.geometry.integers import Pairs, checked, padding_pairs, per_axis


def batch_of(input_shape: Sequence[int], axes: int, channels: int | None = None) -> int:
    """How many images a shape (N, C, ...) or (C, ...) holds; `channels` are those it must have.

    Raises:
        ArgumentError: if an entry is not an integer.
        ShapeError: if the number of axes or the channels differ from what the layer takes, an entry
            is negative, or an int64 cannot count the elements.
    """
    shape = tuple(input_shape)
    if len(shape) not in (axes + 1, axes + 2):
        raise ShapeError(
            f"input shape {shape} has {len(shape)} dimensions; {axes} spatial axes need "
            f"{axes + 2} (batch, channels, ...) or {axes + 1} (channels, ...)"
        )
    # Refused by kind, not by `isinstance(n, int)`: while a model is captured, sizes are symbols.
    if any(isinstance(n, bool | float | str) or n is None for n in shape):
        raise ArgumentError(f"input shape {shape} must hold integers")
    if any(n < 0 for n in shape):
        raise ShapeError(f"input shape {shape} has a negative size")
    if channels is not None and shape[-axes - 1] != channels:
        raise ShapeError(
            f"input shape {shape} has {shape[-axes - 1]} channels, expected {channels}"
        )
    checked(prod(shape), f"elements of an input of shape {shape}")
    return shape[0] if len(shape) == axes + 2 else 1


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where taps lie, per axis: kernel size, stride, padding (pairs, or 'same'), dilation.

    Raises:
        ArgumentError: if an entry is not an integer.
        ShapeError: if an entry is out of range, there are not 1 to 3 axes, or an int64 cannot hold
            the kernel's span.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: Pairs | Literal["same"] = ()
    dilation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        axes = len(self.kernel_size) if isinstance(self.kernel_size, tuple | list) else 0
        if not 1 <= axes <= 3:
            raise ShapeError(
                f"kernel_size {self.kernel_size!r} must hold 1 to 3 integers, one per axis"
            )
        set_once = object.__setattr__
        set_once(self, "kernel_size", per_axis("kernel_size", self.kernel_size, axes))
        for name in ("stride", "dilation"):
            given = getattr(self, name)
            set_once(self, name, per_axis(name, 1 if given == () else given, axes))
        set_once(self, "padding", padding_pairs(0 if self.padding == () else self.padding, axes))
        for kernel, dilation in zip(self.kernel_size, self.dilation, strict=True):
            span(kernel, dilation)

    @property
    def spatial_axes(self) -> int:
        return len(self.kernel_size)

    def axes(self, sizes: Sequence[int]) -> Sequence[Axis | TransposedAxis]:
        """One axis each for an input of these sizes; here 'same' becomes numbers."""
        return self._sliding(sizes)

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """What one output reads, per axis."""
        return tuple(axis.cone() for axis in self.axes(input_shape[-self.spatial_axes :]))

    def _sliding(self, sizes: Sequence[int]) -> tuple[Axis, ...]:
        rows = list(zip(sizes, self.kernel_size, self.stride, self.dilation, strict=True))
        pairs = (
            [same_padding(n, k, s, d) for n, k, s, d in rows]
            if self.padding == "same"
            else self.padding
        )
        return tuple(
            Axis(k, s, before, after, d)
            for (_, k, s, d), (before, after) in zip(rows, pairs, strict=True)
        )
