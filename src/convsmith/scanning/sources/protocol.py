# SPDX-License-Identifier: Apache-2.0
"""What a scan asks of an image: its shape, its identity, and any window of it.

A class with these four attributes and `read` is a source; it inherits from nothing. It is read from
several threads at once, and it travels to other processes by pickle: keep the path and the options,
open files when they are first read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
Window: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a grid of pixels lies on the ground.

        x = a * column + b * row + c
        y = d * column + e * row + f

    Columns and rows count corners: the first pixel spans 0 to 1, its centre is at 0.5.

    Args:
        crs: The coordinate reference system, as WKT.
        transform: `(a, b, c, d, e, f)`, in units of the reference system.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    def sampled(
        self, stride: tuple[Fraction, Fraction], corner: tuple[Fraction, Fraction]
    ) -> "Place":
        """The place of a coarser or finer grid, both given as (rows, columns) in these pixels.

        Its cell (i, j) has its corner at `stride * (i, j) + corner`.

        >>> place = Place(crs="", transform=(10.0, 0.0, 500.0, 0.0, -10.0, 800.0))
        >>> place.sampled((Fraction(2), Fraction(2)), (Fraction(1), Fraction(1))).transform
        (20.0, 0.0, 510.0, 0.0, -20.0, 790.0)
        """
        a, b, c, d, e, f = self.transform
        (down, across), (top, left) = map(float, stride), map(float, corner)
        return Place(
            crs=self.crs,
            transform=(
                *(a * across, b * down, a * left + b * top + c),
                *(d * across, e * down, d * left + e * top + f),
            ),
        )


@runtime_checkable
class Source(Protocol):
    """An image, or a stack of them, that is read window by window."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, *space) with one, two or three axes of space."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the samples, in native byte order."""

    @property
    def identity(self) -> Mapping[str, Json]:
        """What tells this image from another: kind, path, bytes and time of change; or a digest."""

    @property
    def place(self) -> Place | None:
        """The georeference of its last two axes, if it has one."""

    def read(self, window: Window) -> np.ndarray:
        """The samples of a window: (channels, *window), one slice an axis of space.

        Each slice has a start and a stop within the axis and step 1.
        """


def held_bytes(source: Source) -> int:
    """Bytes of an image that a source keeps decoded: what it says of itself as `held_bytes`, else
    none.
    """
    return int(getattr(source, "held_bytes", 0))
