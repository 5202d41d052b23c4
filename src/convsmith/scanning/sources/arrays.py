# SPDX-License-Identifier: Apache-2.0
"""Arrays in memory, memory maps, and `.npy` files, which are memory maps too."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.errors import FormatError
from convsmith.scanning.lettering import Lettering
from convsmith.scanning.sources.files.limits import check_dtype, check_shape, identity_of
from convsmith.scanning.sources.protocol import Json, Window
from convsmith.scanning.sources.reading import checked_window


class ArraySource:
    """An array, or a view of one. Nothing is copied but the windows that are read.

    A memory map pickles as its file's name; an array in memory travels whole. The identity of one
    in memory is a digest of its values.

    Args:
        array: (channels, *space).
        axes: The order of its axes if it is another, such as "HWC" or "HW".

    Raises:
        ArgumentError: if `axes` does not fit the array.
        FormatError: if it is empty.
        UnsupportedError: if it has too many axes, or samples that are no real numbers.

    >>> ArraySource(np.zeros((480, 640, 3), np.uint8), axes="HWC").shape
    (3, 480, 640)
    """

    place = None

    def __init__(self, array: np.ndarray, *, axes: str | None = None) -> None:
        self._mapped = _mapping_of(array)
        name = Path(self._mapped[0]) if self._mapped else Path("array")
        self._axes = axes
        if axes is None:
            check_shape(name, array.shape)
        self._array = np.asarray(Lettering(axes).inside(array) if axes else array)
        check_shape(name, self._array.shape)
        self.shape = self._array.shape
        self.dtype = check_dtype(name, array.dtype)

    @cached_property
    def identity(self) -> dict[str, Json]:
        facts: dict[str, Json] = {
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "axes": self._axes,
        }
        if self._mapped:
            filename, _, offset, _, strides = self._mapped
            facts |= {"offset": offset, "strides": list(strides)}
            return identity_of("memory map", Path(filename)) | facts
        digest = hashlib.sha256()
        for channel in self._array:
            for row in channel:
                digest.update(np.ascontiguousarray(row, self.dtype).data)
        return {"kind": "array", "sha256": digest.hexdigest(), **facts}

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        return np.array(self._array[(slice(None), *window)], self.dtype, order="C")

    def __reduce__(self) -> tuple[Any, ...]:
        if self._mapped:
            return _remapped, (*self._mapped, self._axes)
        array = self._array if self._axes is None else Lettering(self._axes).outside(self._array)
        return _rebuilt, (array, self._axes)


def open_npy(path: Path, *, axes: str | None = None) -> ArraySource:
    """A `.npy` file as a memory map.

    Raises:
        FileNotFoundError: if it is not there.
        FormatError: if it is truncated, damaged, or holds Python objects.
    """
    path.stat()
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # whatever a damaged header makes of itself
        raise FormatError(
            f"{path}: no readable .npy of numbers: {error}; save it again with numpy.save"
        ) from error
    return ArraySource(array, axes=axes)


_Mapping = tuple[str, str, int, tuple[int, ...], tuple[int, ...]]


def _mapping_of(array: np.ndarray) -> _Mapping | None:
    """File, type, offset, shape and strides of a view of a memory map; nothing of other arrays."""
    root: Any = array
    found: np.memmap | None = None
    while isinstance(root, np.ndarray):
        if isinstance(root, np.memmap) and root.filename is not None:
            found = root
        root = root.base
    if found is None or found.filename is None:
        return None
    moved = _address(array) - _address(found)
    place = (found.offset + moved, array.shape, array.strides)
    return str(Path(found.filename).absolute()), array.dtype.str, *place


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _remapped(
    filename: str,
    dtype: str,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    axes: str | None,
) -> ArraySource:
    whole = np.memmap(filename, np.uint8, mode="r")
    view: np.ndarray = np.ndarray(shape, dtype, buffer=whole, offset=offset, strides=strides)
    return ArraySource(view, axes=axes)


def _rebuilt(array: np.ndarray, axes: str | None) -> ArraySource:
    return ArraySource(array, axes=axes)
