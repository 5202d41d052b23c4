# SPDX-License-Identifier: Apache-2.0
"""One convolution as plain integers: what every family is recognised, sized and counted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from convsmith.errors import ShapeError
from convsmith.geometry.axis import TransposedAxis, same_transposed_padding
from convsmith.geometry.integers import checked, per_axis
from convsmith.geometry.window import Window, batch_of


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates: of all taps, and of those that meet a real input (flops = 2 * macs)."""

    all: int
    live: int

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.all + other.all, self.live + other.live)


@dataclass(frozen=True, kw_only=True)
class Geometry(Window):
    """A convolution's integers: its channels and groups, and where its taps lie.

    Raises:
        ArgumentError: if an entry is not an integer.
        ShapeError: if an entry is out of range or the channels are not divisible by the groups.

    >>> g = Geometry(in_channels=3, out_channels=32, kernel_size=(3, 3), padding=((1, 1), (1, 1)))
    >>> g.output_shape((1, 3, 36, 36)), g.macs((1, 3, 36, 36)).all
    ((1, 32, 36, 36), 1119744)
    """

    in_channels: int
    out_channels: int
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("in_channels", "out_channels", "groups"):
            (count,) = per_axis(name, getattr(self, name), 1)
            object.__setattr__(self, name, count)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ShapeError(
                    f"{name} {getattr(self, name)} must be divisible by groups {self.groups}"
                )

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(N, C, ...) or (C, ...) to the shape of the output."""
        batch_of(input_shape, self.spatial_axes, self.in_channels)
        sizes = input_shape[-self.spatial_axes :]
        outputs = (axis.output_size(n) for axis, n in zip(self.axes(sizes), sizes, strict=True))
        shape = (*input_shape[: -self.spatial_axes - 1], self.out_channels, *outputs)
        checked(prod(shape), f"elements of an output of shape {shape}")
        return shape

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """N * pairs of joined channels * product over the axes of (outputs x taps)."""
        batch = batch_of(input_shape, self.spatial_axes, self.in_channels)
        sizes = input_shape[-self.spatial_axes :]
        axes = list(zip(self.axes(sizes), sizes, strict=True))
        pairs = batch * self.in_channels * self.out_channels // self.groups
        return Macs(
            checked(pairs * prod(axis.taps(n) for axis, n in axes), "macs"),
            pairs * prod(axis.live_taps(n) for axis, n in axes),
        )


@dataclass(frozen=True, kw_only=True)
class TransposedGeometry(Geometry):
    """A transposed convolution's integers; padding is what is cropped, 'same' makes the output size
    * stride long.

    Raises:
        ShapeError: if output padding is not smaller than the stride or the dilation, or is given
            beside 'same'.

    >>> g = TransposedGeometry(in_channels=1, out_channels=1, kernel_size=(4, 4), stride=(3, 3))
    >>> g.output_shape((1, 1, 2, 2))
    (1, 1, 7, 7)
    """

    output_padding: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        given = 0 if self.output_padding == () else self.output_padding
        added = per_axis("output_padding", given, self.spatial_axes, least=0)
        object.__setattr__(self, "output_padding", added)
        if self.padding == "same" and any(added):
            raise ShapeError(
                f"output_padding {added} must be 0 beside padding 'same', which chooses its own"
            )
        for extra, stride, dilation in zip(added, self.stride, self.dilation, strict=True):
            if extra >= max(stride, dilation):
                raise ShapeError(
                    f"output_padding {added} must be smaller than stride {self.stride} or "
                    f"dilation {self.dilation}"
                )

    def axes(self, sizes: Sequence[int]) -> Sequence[TransposedAxis]:
        rows = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        if self.padding == "same":
            crops = [same_transposed_padding(k, s, d) for k, s, d in rows]
        else:
            crops = [
                (*pair, extra)
                for pair, extra in zip(self.padding, self.output_padding, strict=True)
            ]
        axes = zip(self.kernel_size, self.stride, self.dilation, crops, strict=True)
        return tuple(
            TransposedAxis(k, s, before, after, d, extra)
            for k, s, d, (before, after, extra) in axes
        )
