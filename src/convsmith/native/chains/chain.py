# SPDX-License-Identifier: Apache-2.0
"""A chain: convolutions one behind the other, each with its bias and activation.

x_0 = x
x_i = activation_i(convolution_i(x_{i-1}) + bias_i)                for i < last
y   = activation_last(convolution_last(...) + bias_last + residual)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from convsmith.geometry import Axis, Geometry


@dataclass(frozen=True)
class Stage:
    """One convolution of a chain, and what becomes of its sums.

    `geometry` has two spatial axes (`axes.py` gives them to layers of fewer) and its padding in
    numbers; `activation` is one of `native.epilogue.ACTIVATIONS`.
    """

    geometry: Geometry
    activation: str = "none"

    def axes(self, input_shape: Sequence[int]) -> list[Axis]:
        """Rows and columns, for x of shape (N, C, H, W)."""
        axes = self.geometry.axes(input_shape[2:])
        return [axis for axis in axes if isinstance(axis, Axis)]


@dataclass(frozen=True)
class Chain:
    """The convolutions that one kernel is asked to compute in one pass.

    >>> pointwise = Stage(Geometry(in_channels=3, out_channels=8, kernel_size=(1, 1)), "relu")
    >>> Chain((pointwise,)).output_shape((1, 3, 5, 5))
    (1, 8, 5, 5)
    """

    stages: tuple[Stage, ...]
    has_residual: bool = False

    @property
    def geometries(self) -> tuple[Geometry, ...]:
        """The convolutions' integers, first to last."""
        return tuple(stage.geometry for stage in self.stages)

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of y for x of shape (N, C, H, W)."""
        shape = tuple(input_shape)
        for geometry in self.geometries:
            shape = geometry.output_shape(shape)
        return shape

    def macs(self, input_shape: Sequence[int]) -> int:
        """Multiply-accumulates of all taps."""
        total, shape = 0, tuple(input_shape)
        for geometry in self.geometries:
            total += geometry.macs(shape).all
            shape = geometry.output_shape(shape)
        return total
