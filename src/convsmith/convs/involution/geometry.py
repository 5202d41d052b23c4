# SPDX-License-Identifier: Apache-2.0
"""An involution as plain integers: the multiply-add, and what generates its kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from convsmith.errors import UnsupportedError
from convsmith.geometry import Cone, Geometry, Macs, batch_of


class GeneratorGeometry(Protocol):
    """What a kernel generator tells: any generator with such a `geometry` is counted."""

    def macs(self, input_shape: Sequence[int]) -> Macs: ...

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]: ...


@dataclass(frozen=True, kw_only=True)
class InvolutionGeometry(Geometry):
    """The multiply-add's integers, its groups of channels, and its kernel generator's geometry.

    Padding is always 'same', the groups of channels share kernels (they are not `groups`, which
    split weights). generator None: one that does not tell its geometry.

    >>> g = InvolutionGeometry(
    ...     in_channels=32, out_channels=32, kernel_size=(7, 7), padding="same", kernel_groups=2
    ... )
    >>> g.macs((1, 32, 56, 56)).all == 56 * 56 * 32 * 49
    True
    """

    kernel_groups: int
    generator: GeneratorGeometry | None = None

    def multiply_add(self, input_shape: Sequence[int]) -> Macs:
        """One MAC for each tap, channel and place."""
        dense = super().macs(input_shape)
        return Macs(dense.all // self.in_channels, dense.live // self.in_channels)

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """The multiply-add and the generator; without it where that does not tell its own."""
        own = self.multiply_add(input_shape)
        return own if self.generator is None else own + self.generator.macs(input_shape)

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """The reach of the kernel and of its generator together.

        Raises:
            UnsupportedError: if the generator does not tell how far it reaches.
        """
        if self.generator is None:
            raise UnsupportedError(
                f"involution: how far the generator of a {self.kernel_size} kernel reaches is not "
                "known; give it a `geometry` with macs(input_shape) and cone(input_shape)"
            )
        pairs = zip(super().cone(input_shape), self.generator.cone(input_shape), strict=True)
        return tuple(kernel.union(generated) for kernel, generated in pairs)


@dataclass(frozen=True, kw_only=True)
class BottleneckGeometry:
    """Average pooling by the stride, then 1x1 convolutions from `channels` through `reduced` to
    `taps`, kernel taps times groups.
    """

    channels: int
    reduced: int
    taps: int
    stride: tuple[int, ...]

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Of the two convolutions."""
        axes = len(self.stride)
        sizes = zip(input_shape[-axes:], self.stride, strict=True)
        places = prod(-(-n // s) for n, s in sizes) * batch_of(input_shape, axes, self.channels)
        macs = places * self.reduced * (self.channels + self.taps)
        return Macs(macs, macs)

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """The pooling's windows."""
        return tuple(Cone(s, ((0, s - 1),)) for s in self.stride)


@dataclass(frozen=True, kw_only=True)
class AttentionGeometry:
    """Queries, keys and values by 1x1 convolutions, and the comparison of each query with its
    neighbours.
    """

    neighbourhood: InvolutionGeometry

    def macs(self, input_shape: Sequence[int]) -> Macs:
        """Three projections, queries at the outputs only; the comparison meets what the
        multiply-add does.
        """
        window = self.neighbourhood
        output_shape = window.output_shape(input_shape)
        places = 2 * prod(input_shape) + prod(output_shape)  # channels are counted in them
        projections = places * window.in_channels
        return Macs(projections, projections) + window.multiply_add(input_shape)

    def cone(self, input_shape: Sequence[int]) -> tuple[Cone, ...]:
        """The neighbourhood itself."""
        return Geometry.cone(self.neighbourhood, input_shape)
