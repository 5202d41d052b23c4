# SPDX-License-Identifier: Apache-2.0
"""Reading one window of any source, and checking what came."""

from typing import Literal

import numpy as np

from convsmith.errors import ArgumentError, FormatError, ShapeError
from convsmith.scanning.sources.protocol import Source, Window


def read_window(
    source: Source, window: Window, *, nan: Literal["error", "allow"] = "error"
) -> np.ndarray:
    """The samples of a window, of the shape and type that the source promises.

    Args:
        source: The image.
        window: One slice an axis of space, with start and stop, within the image.
        nan: `"allow"` lets samples that are not a number through: they then reach every output
            whose cone holds them.

    Raises:
        ShapeError: if the window leaves the image.
        FormatError: if the source gives another shape or type than it promises, or if a sample is
            not a number; the first such pixel is named.

    >>> from convsmith.scanning.sources import SyntheticSource
    >>> read_window(SyntheticSource((3, 1000, 1000)), (slice(0, 2), slice(996, 1000))).shape
    (3, 2, 4)
    """
    if nan not in ("error", "allow"):
        raise ArgumentError(f'read_window: nan is {nan!r}; it is "error" or "allow"')
    extents = checked_window(window, source.shape[1:])
    samples = source.read(window)
    expected = (source.shape[0], *(stop - start for start, stop in extents))
    if samples.shape != expected or samples.dtype != source.dtype:
        raise FormatError(
            f"read_window: {named(source)} gave {samples.shape} {samples.dtype} for "
            f"{spelt(window)}; a source of shape {source.shape} and type {source.dtype} gives "
            f"{expected} {source.dtype}: repair its `read`"
        )
    if nan == "error" and samples.dtype.kind == "f" and np.isnan(samples).any():
        channel, *offsets = (int(i) for i in np.argwhere(np.isnan(samples))[0])
        pixel = tuple(start + at for (start, _), at in zip(extents, offsets, strict=True))
        raise FormatError(
            f"read_window: {named(source)} holds NaN at channel {channel}, pixel {pixel}, one of "
            f"{int(np.isnan(samples).sum())} in the window {spelt(window)}; one such sample "
            f"spoils every output that sees it: fill them, or let them through with "
            f'nan="allow" (--allow-nan)'
        )
    return samples


def check_channels(source: Source, in_channels: int) -> None:
    """Whether a network can read a source at all.

    Raises:
        ShapeError: if it has another number of channels than the network reads.
    """
    if source.shape[0] != in_channels:
        raise ShapeError(
            f"{named(source)} has {source.shape[0]} channels, and the network reads {in_channels}; "
            f"choose them with channels= (--channels), as in "
            f"channels=[{', '.join(map(str, range(in_channels)))}], or say with axes= (--axes) "
            "which axis they are"
        )


def checked_window(window: Window, space: tuple[int, ...]) -> list[tuple[int, int]]:
    """Start and stop of each axis, once they are known to lie within the image.

    Raises:
        ShapeError: if they do not.
    """
    fits = len(window) == len(space) and all(
        part.step in (None, 1)
        and part.start is not None
        and part.stop is not None
        and 0 <= part.start <= part.stop <= size
        for part, size in zip(window, space, strict=False)
    )
    if not fits:
        raise ShapeError(
            f"the window {spelt(window)} leaves an image of {space}: one slice an axis, with "
            f"0 <= start <= stop <= size and step 1"
        )
    return [(part.start, part.stop) for part in window]


def named(source: Source) -> str:
    """The path of a source, or its kind where it has none."""
    return str(source.identity.get("path", source.identity.get("kind", type(source).__name__)))


def spelt(window: Window) -> str:
    """`[0:512, 64:128]`."""
    return f"[{', '.join(_spelt(part) for part in window)}]"


def _spelt(part: slice) -> str:
    step = "" if part.step in (None, 1) else f":{part.step}"
    return f"{part.start}:{part.stop}{step}"
