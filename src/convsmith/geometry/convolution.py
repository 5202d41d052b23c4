# SPDX-License-Identifier: Apache-2.0
"""One convolution as plain integers: what every family is recognised, sized and counted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from convsmith.errors import ShapeError
from convsmith.geometry.axis import Axis, TransposedAxis, same_padding, same_transposed_padding
from convsmith.geometry.cone import Cone
from convsmith.geometry.integers import Pairs, checked, padding_pairs, per_axis


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates: of all taps, and of those that meet a real input (flops = 2 * macs)."""

    all: int
    live: int

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.all + other.all, self.live + other.live)


def batch_of(input_shape: Sequence[int], axes: int, channels: int) -> int:
    """How many images a shape (N, C, ...) or (C, ...) holds.

    Raises:
        ShapeError: if the number of axes or the channels differ from what the layer takes.
    """
    if len(input_shape) not in (axes + 1, axes + 2):
        raise ShapeError(
            f"input shape {tuple(input_shape)} has {len(input_shape)} dimensions; {axes} spatial "
            "axes need "
            f"{axes + 2} (batch, channels, ...) or {axes + 1} (channels, ...)"
        )
    if input_shape[-axes - 1] != channels:
        raise ShapeError(
            f"input shape {tuple(input_shape)} has {input_shape[-axes - 1]} channels, expected "
            f"{channels}"
        )
    return input_shape[0] if len(input_shape) == axes + 2 else 1


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A convolution's integers, per axis: kernel size, stride, padding (pairs, or 'same'),
    dilation, groups.

    Raises:
        ShapeError: if an entry is out of range or the channels are not divisible by the groups.

    >>> g = Geometry(in_channels=3, out_channels=32, kernel_size=(3, 3), padding=((1, 1), (1, 1)))
    >>> g.output_shape((1, 3, 36, 36)), g.macs((1, 3, 36, 36)).all
    ((1, 32, 36, 36), 1119744)
    """

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: Pairs | Literal["same"] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        axes = len(self.kernel_size)
        set_once = object.__setattr__
        per_axis(
            "in_channels, out_channels and groups",
            (self.in_channels, self.out_channels, self.groups),
            3,
        )
        set_once(self, "kernel_size", per_axis("kernel_size", self.kernel_size, axes))
        set_once(self, "stride", per_axis("stride", self.stride or 1, axes))
        set_once(self, "dilation", per_axis("dilation", self.dilation or 1, axes))
        set_once(self, "padding", padding_pairs(self.padding or 0, axes))
        for name, channels in (
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ):
            if channels % self.groups:
                raise ShapeError(f"{name} {channels} must be divisible by groups {self.groups}")

    @property
    def spatial_axes(self) -> int:
        return len(self.kernel_size)

    def axes(self, sizes: Sequence[int]) -> Sequence[Axis | TransposedAxis]:
        """One `Axis` each for an input of these sizes; here 'same' becomes numbers."""
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

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """What one output reads, per axis."""
        return tuple(axis.cone() for axis in self.axes(input_shape[-self.spatial_axes :]))


@dataclass(frozen=True, kw_only=True)
class TransposedGeometry(Geometry):
    """A transposed convolution's integers; padding is what is cropped, 'same' makes the output size
    * stride long.

    >>> g = TransposedGeometry(in_channels=1, out_channels=1, kernel_size=(4, 4), stride=(3, 3))
    >>> g.output_shape((1, 1, 2, 2))
    (1, 1, 7, 7)
    """

    output_padding: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        added = per_axis("output_padding", self.output_padding or 0, self.spatial_axes, least=0)
        object.__setattr__(self, "output_padding", added)
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
