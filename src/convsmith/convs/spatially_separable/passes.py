# SPDX-License-Identifier: Apache-2.0
"""The passes of a spatially separable convolution: one convolution per axis, thin on the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from convsmith.convs.padding import pad, resolve
from convsmith.errors import ShapeError
from convsmith.geometry import Geometry, Ints, Macs, Padding, padding_pairs, per_axis


@dataclass(frozen=True, kw_only=True)
class SpatiallySeparableGeometry(Geometry):
    """A convolution's integers and the channels between its passes, for each group.

    >>> sobel = SpatiallySeparableGeometry(
    ...     in_channels=1, out_channels=1, kernel_size=(3, 3), padding="same", rank=1
    ... )
    >>> sobel.macs((1, 1, 5, 5)).all  # 3 + 3 at each of 25 places
    150
    """

    rank: int

    def __post_init__(self) -> None:
        super().__post_init__()
        per_axis("rank", self.rank, 1)

    def passes(self) -> tuple[Geometry, ...]:
        """The convolutions it consists of, the first axis first."""
        axes = self.spatial_axes
        channels = [self.in_channels, *[self.groups * self.rank] * (axes - 1), self.out_channels]
        return tuple(
            Geometry(
                in_channels=channels[axis],
                out_channels=channels[axis + 1],
                kernel_size=_only(axis, self.kernel_size, 1),
                stride=_only(axis, self.stride, 1),
                padding="same" if self.padding == "same" else _only(axis, self.padding, (0, 0)),
                dilation=_only(axis, self.dilation, 1),
                groups=self.groups,
            )
            for axis in range(axes)
        )

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Those of the passes together; a pass keeps the other axes as long as they come."""
        total = Macs(0, 0)
        for one in self.passes():
            total += one.macs(input_shape)
            input_shape = one.output_shape(input_shape)
        return total


def _only(axis: int, values: Sequence[Any], neutral: Any) -> tuple[Any, ...]:
    """`values` on one axis, `neutral` on the others."""
    return tuple(value if a == axis else neutral for a, value in enumerate(values))


def in_passes(
    convolve: Callable[..., Tensor],
    x: Tensor,
    weights: Sequence[Tensor],
    bias: Tensor | None,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    padding_mode: str = "zeros",
) -> Tensor:
    """`convolve`, a convolution with torch's arguments, along each axis in turn."""
    axes = len(weights)
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    kernel_size, pairs = _kernel_size(weights), padding_pairs(padding, axes)
    for axis, weight in enumerate(weights):
        # 'same' stays a word as long as it can: its numbers may be symbols in an exported graph
        amounts: Padding = pairs if pairs == "same" else _only(axis, pairs, (0, 0))
        steps, gaps = _only(axis, stride, 1), _only(axis, dilation, 1)
        if padding_mode != "zeros":
            numbers = resolve(amounts, x.shape, _only(axis, kernel_size, 1), steps, gaps)
            x, amounts = pad(x, numbers, padding_mode), 0
        x = convolve(x, weight, bias if axis == axes - 1 else None, steps, amounts, gaps, groups)
    return x


def _kernel_size(weights: Sequence[Tensor]) -> tuple[int, ...]:
    for axis, weight in enumerate(weights):
        thin = weight.ndim == len(weights) + 2
        if not thin or prod(weight.shape[2:]) != weight.shape[2 + axis]:
            raise ShapeError(
                f"spatially_separable_conv{len(weights)}d: weight {axis} is "
                f"{tuple(weight.shape)}; its kernel may be longer than 1 on axis {axis} only"
            )
    return tuple(weight.shape[2 + axis] for axis, weight in enumerate(weights))
