# SPDX-License-Identifier: Apache-2.0
"""Parts of a source that are sources: some of its channels, one of its slices.

A stack (a folder of frames, a TIFF of pages, a volume) is one source whose first axis of space
counts the slices. A network with three axes of space sees them together; for a network with two,
`slices` gives each on its own.
"""

from collections.abc import Sequence

import numpy as np

from convsmith.errors import ShapeError
from convsmith.scanning.sources.protocol import Json, Place, Source, Window, held_bytes
from convsmith.scanning.sources.reading import checked_window, named


class ChannelsOf:
    """Some channels of a source, in the order given.

    Raises:
        ShapeError: if there is no such channel.

    >>> from convsmith.scanning.sources import SyntheticSource
    >>> ChannelsOf(SyntheticSource((4, 100, 100)), [2, 1, 0]).shape
    (3, 100, 100)
    """

    def __init__(self, source: Source, channels: Sequence[int]) -> None:
        self._source, self._channels = source, [int(channel) for channel in channels]
        count = source.shape[0]
        if not self._channels or not all(0 <= channel < count for channel in self._channels):
            raise ShapeError(
                f"{named(source)}: channels {self._channels} of {count}; name one or more from 0 "
                f"to {count - 1}"
            )
        self.shape = (len(self._channels), *source.shape[1:])
        self.dtype = source.dtype

    @property
    def identity(self) -> dict[str, Json]:
        return {**self._source.identity, "channels": list(self._channels)}

    @property
    def place(self) -> Place | None:
        return self._source.place

    @property
    def held_bytes(self) -> int:
        return held_bytes(self._source)

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        return self._source.read(window)[self._channels]


class SliceOf:
    """One slice along the first axis of space."""

    def __init__(self, source: Source, index: int) -> None:
        self._source, self._index = source, index
        self.shape = (source.shape[0], *source.shape[2:])
        self.dtype = source.dtype

    @property
    def identity(self) -> dict[str, Json]:
        return {**self._source.identity, "slice": self._index}

    @property
    def place(self) -> Place | None:
        return self._source.place

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        return self._source.read((slice(self._index, self._index + 1), *window))[:, 0]


def slices(source: Source) -> list[SliceOf]:
    """Every slice of a source with two or three axes of space, each a source of its own.

    Raises:
        ShapeError: if it has one axis of space.

    >>> from convsmith.scanning.sources import SyntheticSource
    >>> [part.shape for part in slices(SyntheticSource((3, 2, 480, 640)))]
    [(3, 480, 640), (3, 480, 640)]
    """
    if len(source.shape) < 3:
        raise ShapeError(
            f"{named(source)} has shape {source.shape}; one axis of space has no slices"
        )
    return [SliceOf(source, index) for index in range(source.shape[1])]
