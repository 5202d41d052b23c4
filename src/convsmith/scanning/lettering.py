# SPDX-License-Identifier: Apache-2.0
"""Axes by their letters: `"CHW"`, `"HWC"`, `"ZYXC"`, `"HW"`.

C is the channels; T, Z or D count slices, Y or H rows, X, W or L columns. Inside, the channels come
first and the axes of space in the order slices, rows, columns, whatever the order outside.
"""

from dataclasses import dataclass

import numpy as np

from convsmith.errors import ArgumentError

_RANK = {"T": 0, "Z": 0, "D": 0, "Y": 1, "H": 1, "X": 2, "W": 2, "L": 2}
_USUAL = {1: "CX", 2: "CYX", 3: "CZYX"}


@dataclass(frozen=True)
class Lettering:
    """How the axes of an array are ordered outside.

    Attributes:
        axes: One letter an axis.

    Raises:
        ArgumentError: if the letters name no axes of space, more than three, or one twice.

    >>> Lettering("HWC").order, Lettering("HW").order
    ((2, 0, 1), (0, 1))
    """

    axes: str

    def __post_init__(self) -> None:
        ranks = [_RANK.get(letter, -1) for letter in self.axes if letter != "C"]
        clear = sorted(set(ranks)) == sorted(ranks) and -1 not in ranks
        if not clear or not 1 <= len(ranks) <= 3 or self.axes.count("C") > 1:
            raise ArgumentError(
                f"axes {self.axes!r}: one letter an axis, each once: C for the channels, T, Z or D "
                f"for slices, Y or H for rows, X, W or L for columns; one to three of space"
            )

    @staticmethod
    def usual(num_space: int) -> "Lettering":
        """Channels first, then space."""
        return Lettering(_USUAL[num_space])

    @property
    def has_channels(self) -> bool:
        return "C" in self.axes

    @property
    def num_space(self) -> int:
        return len(self.axes) - self.has_channels

    @property
    def order(self) -> tuple[int, ...]:
        """Where the axes that are (channels, *space) inside stand outside."""
        places = range(len(self.axes))
        return tuple(sorted(places, key=lambda place: _RANK.get(self.axes[place], -1)))

    def inside(self, array: np.ndarray) -> np.ndarray:
        """A view with (channels, *space); an image without channels has one.

        Raises:
            ArgumentError: if the array has another number of axes.
        """
        if array.ndim != len(self.axes):
            raise ArgumentError(
                f"axes {self.axes!r}: an array of shape {array.shape} has {array.ndim} axes; give "
                f"one letter for each"
            )
        arranged = array.transpose(self.order)
        return arranged if self.has_channels else arranged[np.newaxis]

    def outside(self, array: np.ndarray) -> np.ndarray:
        """The view back, of an array of (channels, *space)."""
        arranged = array if self.has_channels else array[0]
        return arranged.transpose(np.argsort(self.order))
