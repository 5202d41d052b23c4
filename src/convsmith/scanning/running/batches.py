# SPDX-License-Identifier: Apache-2.0
"""Which tiles run together: always the same ones, so that no byte depends on what ran before.

A batch holds neighbours whose reads have one shape. Its tiles keep their places in it, in a run
that resumes too: where one of them is missing, the others are not moved up.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from math import prod
from typing import Any

import numpy as np

from convsmith.scanning.plan import Plan
from convsmith.scanning.tiling import AxisPlan


class Batches(Sequence[tuple[int, ...]]):
    """The tiles of a plan in batches of at most `plan.batch`, found by arithmetic alone:
    `batches[i]` is the tuple of tile numbers of batch i.
    """

    def __init__(self, plan: Plan) -> None:
        self._grid, self._size = plan.grid, plan.batch
        # Reads that end where the image does may be longer: along each axis, they come last.
        parts = [_parts(axis) for axis in plan.axes]
        self._groups = [group for group in product(*parts) if all(group)]
        counts = [-(-prod(map(len, group)) // self._size) for group in self._groups]
        self._firsts = [0, *accumulate(counts)]

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        place = bisect_right(self._firsts, number) - 1
        group = self._groups[place]
        first = (number - self._firsts[place]) * self._size
        last = min(first + self._size, prod(map(len, group)))
        return tuple(self._tile(group, within) for within in range(first, last))

    def missing(self, done: np.ndarray) -> Iterator[int]:
        """The batches that hold a tile that is not done; `done` has one truth value a tile."""
        return (number for number, tiles in enumerate(self) if not done[list(tiles)].all())

    def _tile(self, group: tuple[range, ...], within: int) -> int:
        """The number, among all tiles, of one in a group; both count in row-major order."""
        number, step = 0, 1
        for indices, size in zip(reversed(group), reversed(self._grid), strict=True):
            within, place = divmod(within, len(indices))
            number += indices[place] * step
            step *= size
        return number


def _parts(axis: AxisPlan) -> tuple[range, range]:
    """Tiles whose reads end inside the image, and those whose reads end where it does."""
    tiles = axis.tiles()
    inside = bisect_left(range(tiles), True, key=lambda i: axis.tile(i).read.stop == axis.size)
    return range(inside), range(inside, tiles)
