# SPDX-License-Identifier: Apache-2.0
"""The shortcut of a residual network that has no weights: pixels at steps, channels of zeros."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from convsmith.native.chains.kernel import Ints
from convsmith.native.chains.steps import Address, Row


class Subsample(NamedTuple):
    """Slices of an image's rows and columns, with channels of zeros before and after its own.

    y[:, before : before + C] = x[:, :, rows, columns]

    Slices of one axis are taken one behind the other; their steps are positive.
    """

    x: int
    rows_kept: tuple[slice, ...] = ()
    columns_kept: tuple[slice, ...] = ()
    before: int = 0
    after: int = 0
    stages: int = 0

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.x,)

    @property
    def reads_last(self) -> tuple[int, ...]:
        return (self.x,)

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        n, c, h, w = shapes[self.x]
        down, across = _kept(h, self.rows_kept), _kept(w, self.columns_kept)
        return (n, self.before + c + self.after, len(down), len(across))

    def output_axes(self, axes: Sequence[int]) -> int:
        return axes[self.x]

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        return axes[self.x] == 4 and 0 not in self.output_shape(shapes)[2:]

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        n, c, h, w = shapes[self.x]
        down, across = _kept(h, self.rows_kept), _kept(w, self.columns_kept)
        yield (
            "subsample2d",
            [
                *(Address(self.x), Address(result)),
                *(n, c, h, w, down.start, across.start),
                *(min(down.step, h), min(across.step, w)),  # a step out of the image is any such
                *(len(down), len(across), self.before, self.after),
            ],
        )


def _kept(size: int, slices: Sequence[slice]) -> range:
    """The positions along an axis that slices leave.

    >>> _kept(9, [slice(1, None), slice(0, -1, 3)])
    range(1, 8, 3)
    """
    kept = range(size)
    for each in slices:
        kept = kept[each]
    return kept
