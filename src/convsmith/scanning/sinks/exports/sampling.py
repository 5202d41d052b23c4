# SPDX-License-Identifier: Apache-2.0
"""Which outputs the pixels of a shrunken image show, read block by block."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from convsmith.scanning.sinks.describing import corner
from convsmith.scanning.sinks.store import Store
from convsmith.scanning.tiling import AxisPlan


class Grid:
    """The outputs that the pixels of a picture show, read block by block."""

    def __init__(self, store: Store, factor: int, shape: tuple[int, ...], budget: int) -> None:
        self.store, self.shape = store, shape
        self._indices = [
            _outputs_at(axis, factor, length)
            for axis, length in zip(store.plan.axes, shape, strict=True)
        ]
        part = store.parts[0]
        pixel = part.channels * part.dtype.itemsize
        outputs = max(Fraction(factor) / axis.stride for axis in store.plan.axes)
        # A block of t x t pixels lies on (t * outputs + 1) ** 2 outputs of each channel.
        edge = int((budget // pixel) ** 0.5 / float(outputs)) - 1
        self._edge = min(max(edge, 1), 256)

    def blocks(self) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Where in the picture, and (channels, rows, columns) of what is shown there."""
        rows, columns = (_covered(indices) for indices in self._indices)
        for top in range(rows.start, rows.stop, self._edge):
            for left in range(columns.start, columns.stop, self._edge):
                at = (
                    slice(top, min(top + self._edge, rows.stop)),
                    slice(left, min(left + self._edge, columns.stop)),
                )
                down, across = (i[part] for i, part in zip(self._indices, at, strict=True))
                window = (slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1))
                values = self.store.read(window, part=self.store.parts[0].name)
                yield at, values[:, down[:, np.newaxis] - down[0], across - across[0]]


def _outputs_at(axis: AxisPlan, factor: int, length: int) -> np.ndarray:
    """The output whose cell holds the centre of each pixel of the picture; -1 where none does."""
    start, stride = corner(axis), axis.stride
    # Exact: over a common denominator both are integers.
    common = (start.denominator * stride.denominator) * 2
    centres = (2 * np.arange(length) + 1) * factor * (common // 2)
    indices = (centres - int(start * common)) // int(stride * common)
    return np.where((indices >= 0) & (indices < axis.outputs), indices, -1)


def _covered(indices: np.ndarray) -> slice:
    """Which pixels show an output. They are in one piece."""
    found = np.flatnonzero(indices >= 0)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
