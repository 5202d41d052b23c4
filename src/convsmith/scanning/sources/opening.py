# SPDX-License-Identifier: Apache-2.0
"""Whatever holds an image, as a source: the content decides, not the name."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from convsmith.errors import ArgumentError, FormatError
from convsmith.scanning.sources.arrays import ArraySource, open_npy
from convsmith.scanning.sources.files.limits import DEFAULT_BUDGET
from convsmith.scanning.sources.files.pictures import FORMATS, PictureSource, is_picture
from convsmith.scanning.sources.files.raster import RasterSource, has_coordinates
from convsmith.scanning.sources.files.stored import ZarrSource
from convsmith.scanning.sources.files.tiff import TiffSource
from convsmith.scanning.sources.frames import FramesSource
from convsmith.scanning.sources.protocol import Source
from convsmith.scanning.sources.views import ChannelsOf

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZARR = ("zarr.json", ".zarray", ".zgroup")
_NPY = b"\x93NUMPY"


def open_source(
    image: Source | np.ndarray | Tensor | str | os.PathLike[str],
    *,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    budget: int = DEFAULT_BUDGET,
) -> Source:
    """An image as a source that a scan can read.

    Args:
        image: A source; an array, memory map or tensor; or the path of a TIFF, a GeoTIFF, a picture
            (PNG, JPEG, BMP, PNM), a `.npy` file, a Zarr or OME-Zarr folder, or a folder of frames.
        axes: The order of the axes where nothing in the image says it: "CHW" for arrays if nothing
            is given.
        channels: Which channels to read, in this order; all if nothing is given.
        budget: Bytes of the image that may be decoded in memory at a time.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if a file is damaged, not an image, or would not fit the budget.
        UnsupportedError: if it is an image of a kind that is not served; the message names what is.
        ArgumentError: if `image` is no image at all, or `axes` does not fit it.
        ShapeError: if it has no such channels.

    >>> open_source(np.zeros((480, 640, 3), np.uint8), axes="HWC", channels=[0]).shape
    (1, 480, 640)
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, str | os.PathLike):
        source = _from_path(Path(image), axes, budget)
    elif isinstance(image, np.ndarray):
        source = ArraySource(image, axes=axes)
    elif isinstance(image, Source):
        source = image
        _no_axes(axes, "a source")
    else:
        raise ArgumentError(
            f"open_source: {type(image).__name__} is no image; an array, a tensor, a path, or an "
            f"object with shape, dtype, identity, place and read is"
        )
    return source if channels is None else ChannelsOf(source, channels)


def _from_path(path: Path, axes: str | None, budget: int) -> Source:
    if path.is_dir():
        if any((path / name).is_file() for name in _ZARR):
            return ZarrSource(path, axes=axes, budget=budget)
        return FramesSource(path, partial(_from_path, axes=axes, budget=budget), budget=budget)
    with path.open("rb") as file:
        prefix = file.read(16)
    if prefix.startswith(_NPY):
        return open_npy(path, axes=axes)
    if prefix.startswith(_TIFF):
        if has_coordinates(path):
            _no_axes(axes, str(path))
            return RasterSource(path, budget=budget)
        return TiffSource(path, axes=axes, budget=budget)
    if is_picture(prefix):
        _no_axes(axes, str(path))
        return PictureSource(path, budget=budget)
    raise FormatError(
        f"{path}: it begins with {prefix[:8]!r}, which is no image that is read: TIFF, "
        f"{', '.join(FORMATS)}, .npy, Zarr and folders of frames are; convert it"
    )


def _no_axes(axes: str | None, what: str) -> None:
    if axes is not None:
        raise ArgumentError(
            f"open_source: axes={axes!r} for {what}, whose axes are known; leave it out"
        )
