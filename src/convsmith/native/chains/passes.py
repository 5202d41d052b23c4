# SPDX-License-Identifier: Apache-2.0
"""Steps between convolutions that have no weights: pooling, addition, concatenation.

They are computed in channels last, so that a network's convolutions stay in one program.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from convsmith.errors import ShapeError
from convsmith.geometry import PoolingGeometry
from convsmith.native.chains.kernel import Ints
from convsmith.native.chains.steps import Address, Row
from convsmith.native.epilogue import activation_number

# The order of PoolKind in passes.kernel.h.
POOLINGS = ("max", "mean", "mean with padding")


class Pool(NamedTuple):
    """The greatest number or the mean of each window of an image, or of the whole of it.

    A mean divides by the taps inside of the image, or "with padding" by all of them. `flat` leaves
    out the spatial axes of the whole image's (N, C, 1, 1).
    """

    x: int
    kind: str  # one of POOLINGS
    geometry: PoolingGeometry | None = None  # None: of the whole image
    flat: bool = False
    stages: int = 0

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.x,)

    @property
    def reads_last(self) -> tuple[int, ...]:
        return (self.x,)

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        return self._geometry(shapes[self.x]).output_shape(shapes[self.x])

    def output_axes(self, axes: Sequence[int]) -> int:
        return 2 if self.flat else axes[self.x]

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        if axes[self.x] != 4 or 0 in shapes[self.x][2:]:
            return False
        try:
            self.output_shape(shapes)
        except ShapeError:  # the window is larger than the image: torch says so
            return False
        return True

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        n, c, h, w = shapes[self.x]
        stride_n, _, stride_y, stride_x = strides[self.x]
        window = self._geometry(shapes[self.x])
        assert window.padding != "same"  # torch's poolings have theirs in numbers
        (top, _), (left, _) = window.padding
        yield (
            "pool2d",
            [
                *(Address(self.x), Address(result)),
                *(n, c, h, w, stride_n, stride_y, stride_x),
                *(*window.kernel_size, *window.stride, top, left, *window.dilation),
                *shapes[result][2:],
                POOLINGS.index(self.kind),
            ],
        )

    def _geometry(self, shape: Ints) -> PoolingGeometry:
        if self.geometry is not None:
            return self.geometry
        return PoolingGeometry(kernel_size=shape[2:], padding=((0, 0), (0, 0)))


class Add(NamedTuple):
    """activation(a + b), of one shape."""

    a: int
    b: int
    activation: str = "none"
    stages: int = 0

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.a, self.b)

    @property
    def reads_last(self) -> tuple[int, ...]:
        return self.reads

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        return shapes[self.a]

    def output_axes(self, axes: Sequence[int]) -> int:
        return axes[self.a]

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        return (shapes[self.a], axes[self.a]) == (shapes[self.b], axes[self.b])

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        n, c, h, w = shapes[result]
        values = (Address(self.a), Address(self.b), Address(result))
        yield "add", [*values, n * c * h * w, activation_number(self.activation)]


class Concat(NamedTuple):
    """The channels of several images of one size, behind each other."""

    parts: tuple[int, ...]
    stages: int = 0

    @property
    def reads(self) -> tuple[int, ...]:
        return self.parts

    @property
    def reads_last(self) -> tuple[int, ...]:
        return self.parts

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        n, _, h, w = shapes[self.parts[0]]
        return (n, sum(shapes[part][1] for part in self.parts), h, w)

    def output_axes(self, axes: Sequence[int]) -> int:
        return axes[self.parts[0]]

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        sizes = {(shapes[part][0], *shapes[part][2:], axes[part]) for part in self.parts}
        return len(sizes) == 1

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        n, channels, h, w = shapes[result]
        each = [shapes[part][1] for part in self.parts]
        for part, count, end in zip(self.parts, each, accumulate(each), strict=True):
            values = (Address(part), Address(result))
            yield "copy_channels", [*values, n * h * w, count, count, channels, end - count]
