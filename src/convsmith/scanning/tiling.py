# SPDX-License-Identifier: Apache-2.0
"""Tiles along one axis, in integers: what each reads, keeps and writes.

Output j of the network depends on the inputs [stride j + a, stride j + b] alone. A tile that is to
write the outputs [y0, y1) reads from a multiple of the period, so that every layer starts in step
with the whole image, and reads all that its outputs depend on. Reads are clamped at the edges of
the image and never padded: an edge of the image is an edge of the tile, where layers pad alike.

    start = period * floor(max(0, ceil(stride y0 + a)) / period)     network(image[start : stop])
    shift = start / stride                                           [y0 - shift : y1 - shift]

All reads have one length, which leaves the same remainder by the period as the image's size: so the
last one starts at a multiple of the period, too, and padding that follows the size is the same.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from convsmith.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class AxisTile:
    """One tile: the inputs it reads, which of its own outputs it keeps, and where they belong."""

    read: slice
    keep: slice
    write: slice


@dataclass(frozen=True, kw_only=True)
class AxisPlan:
    """How one axis is cut into tiles.

    Attributes:
        size: Inputs of the image.
        outputs: Outputs of the network on the whole of it.
        stride, a, b: Output j depends on the inputs [stride j + a, stride j + b].
        period: Where a read may start: at its multiples. A multiple of the stride.
        core: Outputs that a tile writes; the last writes what is left.
        length: Inputs that every tile reads; the whole image where that is less. From a smaller
            image it differs by a multiple of the period.

    Raises:
        ShapeError: if a size is below 1, the period is no multiple of the stride, or the length
            leaves another remainder than the size or does not hold what a core depends on.

    >>> axis = AxisPlan.fitted(size=20, outputs=20, stride=1, a=-1, b=1, period=1, core=8)
    >>> axis.length, [axis.tile(i).read for i in range(axis.tiles())]
    (10, [slice(0, 10, None), slice(7, 17, None), slice(10, 20, None)])
    """

    size: int
    outputs: int
    stride: Fraction
    a: Fraction
    b: Fraction
    period: int
    core: int
    length: int

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("size", "outputs", "period", "core")}
        if min(counts.values()) < 1 or self.stride <= 0:
            raise ShapeError(f"tiling: {counts} and stride {self.stride} must all be positive")
        if self.period % self.stride:
            raise ShapeError(
                f"tiling: the period {self.period} must be a multiple of the stride {self.stride}"
            )
        least = needed(self.stride, self.a, self.b, self.period, self.core)
        if self.length < least or (self.size - self.length) % self.period:
            raise ShapeError(
                f"tiling: a read of {self.length} must hold the {least} inputs that {self.core} "
                f"outputs depend on, and differ from the size {self.size} by a multiple of the "
                f"period {self.period}"
            )

    @staticmethod
    def fitted(
        *,
        size: int,
        outputs: int,
        stride: Fraction | int,
        a: Fraction | int,
        b: Fraction | int,
        period: int,
        core: int,
        least: int = 1,
    ) -> "AxisPlan":
        """The plan with the shortest reads, of at least `least` inputs."""
        length = max(least, needed(stride, a, b, period, core))
        return AxisPlan(
            size=size,
            outputs=outputs,
            stride=Fraction(stride),
            a=Fraction(a),
            b=Fraction(b),
            period=period,
            core=core,
            length=length + (size - length) % period,
        )

    def tiles(self) -> int:
        """How many tiles there are."""
        return -(-self.outputs // self.core)

    def tile(self, number: int) -> AxisTile:
        """The tile that writes the outputs from `number * core`.

        Raises:
            ShapeError: if there is no such tile.
        """
        if not 0 <= number < self.tiles():
            raise ShapeError(f"tiling: there is no tile {number} among {self.tiles()}")
        first = number * self.core
        write = slice(first, min(first + self.core, self.outputs))
        start = max(0, min(self._start(number), self.size - self.length))
        shift = int(start / self.stride)
        keep = slice(write.start - shift, write.stop - shift)
        return AxisTile(read=slice(start, start + self.read), keep=keep, write=write)

    @property
    def read(self) -> int:
        """Inputs that a tile of this image reads."""
        return min(self.length, self.size)

    @property
    def inputs_read(self) -> int:
        """The sum of all reads; over the image's size, this is what the halos cost."""
        return self.tiles() * self.read

    def _start(self, number: int) -> int:
        """Where a tile's read would start if the image went on."""
        first = max(0, ceil(self.stride * number * self.core + self.a))
        return first // self.period * self.period


def needed(
    stride: Fraction | int, a: Fraction | int, b: Fraction | int, period: int, core: int
) -> int:
    """The length of a read that holds, wherever a tile lies, what its core depends on.

    >>> needed(2, -3, 3, 2, 16), needed(Fraction(1, 2), 0, 1, 1, 3)
    (38, 3)
    """
    # Where a core begins within a period comes round again after so many tiles.
    tiles = Fraction(stride * core, period).denominator
    longest = 1
    for number in range(tiles):
        start = ceil(stride * number * core + a) // period * period
        stop = floor(stride * (number * core + core - 1) + b) + 1
        longest = max(longest, stop - start)
    return longest
