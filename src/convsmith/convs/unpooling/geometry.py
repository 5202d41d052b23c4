# SPDX-License-Identifier: Apache-2.0
"""Unpooling and its convolution as plain integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from convsmith.errors import ShapeError
from convsmith.geometry import (
    Cone,
    Geometry,
    Ints,
    Macs,
    TransposedAxis,
    batch_of,
    checked,
    per_axis,
)


@dataclass(frozen=True, kw_only=True)
class UnpoolGeometry(Geometry):
    """A convolution's integers and those of the pooling that is undone before it.

    >>> g = UnpoolGeometry(in_channels=1, out_channels=1, kernel_size=(3, 3), pool=(2, 2))
    >>> g.output_shape((1, 1, 4, 4)), g.cone((1, 1, 4, 4))[0].size
    ((1, 1, 6, 6), 2)
    """

    pool: tuple[int, ...]
    pool_stride: tuple[int, ...] = ()
    pool_padding: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = pool_integers(
            self.spatial_axes, self.pool, self.pool_stride or None, self.pool_padding or 0
        )
        for name, value in zip(("pool", "pool_stride", "pool_padding"), rows, strict=True):
            object.__setattr__(self, name, value)

    def pool_axes(self) -> tuple[TransposedAxis, ...]:
        """A pooled value lies somewhere in its window, as a stamp of a transposed convolution."""
        rows = zip(self.pool, self.pool_stride, self.pool_padding, strict=True)
        return tuple(TransposedAxis(k, s, p, p) for k, s, p in rows)

    def unpooled_size(
        self, input_shape: Sequence[int], output_size: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """(n - 1) pool_stride - 2 pool_padding + pool along each axis, or the last axes of
        `output_size`.

        Raises:
            ShapeError: if a size given is a stride or more away from the default: no such pooling
                could have come from there; or if an int64 cannot count the places.
        """
        batch_of(input_shape, self.spatial_axes, self.in_channels)
        inputs = zip(self.pool_axes(), input_shape[-self.spatial_axes :], strict=True)
        default = tuple(axis.output_size(n) for axis, n in inputs)
        sizes = default if output_size is None else tuple(output_size)[-self.spatial_axes :]
        if len(sizes) != len(default) or any(
            abs(n - d) >= s for n, d, s in zip(sizes, default, self.pool_stride, strict=True)
        ):
            raise ShapeError(
                f"unpooling: output_size {tuple(output_size or ())} must be less than the pool's "
                f"stride {self.pool_stride} away from {default} on each axis"
            )
        unpooled = (*input_shape[: -self.spatial_axes], *sizes)
        checked(prod(unpooled), f"elements of an unpooled input of shape {unpooled}")
        return sizes

    def _unpooled_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        return (*input_shape[: -self.spatial_axes], *self.unpooled_size(input_shape))

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        return super().output_shape(self._unpooled_shape(input_shape))

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Those of the convolution; a place that no value went to is counted, for which one that
        is the indices decide.
        """
        return super().macs(self._unpooled_shape(input_shape))

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """The pooled values whose windows the kernel meets: what it can read, wherever the indices
        point.
        """
        kernels = super().cone(self._unpooled_shape(input_shape))
        pools = (axis.cone() for axis in self.pool_axes())
        return tuple(kernel.through(pool) for kernel, pool in zip(kernels, pools, strict=True))


def pool_integers(
    axes: int, pool: Ints, stride: Ints | None, padding: Ints
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel, stride (the kernel unless given) and padding of the pooling, per axis."""
    return (
        per_axis("pool", pool, axes),
        per_axis("pool_stride", pool if stride is None else stride, axes),
        per_axis("pool_padding", padding, axes, least=0),
    )
