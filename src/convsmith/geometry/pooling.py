# SPDX-License-Identifier: Apache-2.0
"""One pooling as plain integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from convsmith.errors import ArgumentError, ShapeError
from convsmith.geometry.integers import checked
from convsmith.geometry.window import Window, batch_of


@dataclass(frozen=True, kw_only=True)
class PoolingGeometry(Window):
    """A max or average pooling's integers; without `stride`, windows lie side by side.

    Raises:
        ShapeError: if padding exceeds half the kernel: a window could lie in padding alone.

    >>> PoolingGeometry(kernel_size=(3, 3), stride=(2, 2), ceil_mode=True).output_shape((8, 6, 7))
    (8, 3, 3)
    """

    ceil_mode: bool = False

    def __post_init__(self) -> None:
        if self.stride == ():
            object.__setattr__(self, "stride", self.kernel_size)
        super().__post_init__()
        if not isinstance(self.ceil_mode, bool):
            raise ArgumentError(f"ceil_mode: {self.ceil_mode!r} must be True or False")
        if self.padding != "same" and any(
            2 * max(pair) > kernel
            for pair, kernel in zip(self.padding, self.kernel_size, strict=True)
        ):
            raise ShapeError(
                f"padding {self.padding} must be at most half the kernel {self.kernel_size}"
            )

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(N, C, ...) or (C, ...) to the shape of the output."""
        batch_of(input_shape, self.spatial_axes)
        sizes = tuple(input_shape[-self.spatial_axes :])
        outputs = (
            axis.output_size(n, ceil_mode=self.ceil_mode)
            for axis, n in zip(self._sliding(sizes), sizes, strict=True)
        )
        shape = (*input_shape[: -self.spatial_axes], *outputs)
        checked(prod(shape), f"elements of an output of shape {shape}")
        return shape
