# SPDX-License-Identifier: Apache-2.0
"""An image computed from its coordinates: any size, no memory, no file."""

import numpy as np

from convsmith.errors import ArgumentError
from convsmith.scanning.sources.protocol import Json, Window
from convsmith.scanning.sources.reading import checked_window

_ODD = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)  # one odd factor an axis, channels first
_MIX = 0x2C1B3C6D


class SyntheticSource:
    """uint8 noise in which every sample is a hash of where it stands.

    Neighbours differ, no two rows are alike, and a window costs its own pixels alone, whatever the
    image's size: what tests of large scans read.

    Args:
        shape: (channels, *space) with one to three axes of space.
        seed: Another number, another image.

    Raises:
        ArgumentError: if the shape has other axes, or an empty one.

    >>> huge = SyntheticSource((1, 200_000, 200_000))
    >>> huge.read((slice(199_999, 200_000), slice(7, 10))).tolist()
    [[[27, 38, 183]]]
    """

    dtype = np.dtype(np.uint8)
    place = None

    def __init__(self, shape: tuple[int, ...], *, seed: int = 0) -> None:
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise ArgumentError(
                f"SyntheticSource: shape is {shape}; it is (channels, *space) with one to three "
                f"axes of space, none of them empty"
            )
        self.shape = tuple(shape)
        self.seed = seed

    @property
    def identity(self) -> dict[str, Json]:
        return {"kind": "synthetic", "shape": list(self.shape), "seed": self.seed}

    def read(self, window: Window) -> np.ndarray:
        extents = [(0, self.shape[0]), *checked_window(window, self.shape[1:])]
        mixed = np.full((1,) * len(extents), self.seed, np.uint32)
        for axis, along in enumerate(np.ogrid[tuple(slice(*extent) for extent in extents)]):
            mixed = mixed ^ (along.astype(np.uint64) * _ODD[axis]).astype(np.uint32)
            mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(_MIX)
        return (mixed >> np.uint32(24)).astype(np.uint8)
