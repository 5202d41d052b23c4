# SPDX-License-Identifier: Apache-2.0
"""A depthwise separable convolution as plain integers: two geometries, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from convsmith.geometry import Geometry, Macs, per_axis


@dataclass(frozen=True, kw_only=True)
class DepthwiseSeparableGeometry(Geometry):
    """The window's integers, and how many filters each input channel has between the two steps.

    >>> g = DepthwiseSeparableGeometry(in_channels=3, out_channels=256, kernel_size=(5, 5))
    >>> g.output_shape((1, 3, 12, 12)), g.macs((1, 3, 12, 12)).all
    ((1, 256, 8, 8), 53952)
    """

    depth_multiplier: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        per_axis("depth_multiplier", self.depth_multiplier, 1)

    @property
    def depthwise(self) -> Geometry:
        """The first step: every channel by its own filters."""
        return Geometry(
            in_channels=self.in_channels,
            out_channels=self.in_channels * self.depth_multiplier,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.in_channels,
        )

    @property
    def pointwise(self) -> Geometry:
        """The second step: the channels mixed at every position."""
        return Geometry(
            in_channels=self.in_channels * self.depth_multiplier,
            out_channels=self.out_channels,
            kernel_size=(1,) * self.spatial_axes,
        )

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Those of both steps."""
        between = self.depthwise.output_shape(input_shape)
        return self.depthwise.macs(input_shape) + self.pointwise.macs(between)
