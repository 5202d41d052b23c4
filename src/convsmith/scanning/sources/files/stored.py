# SPDX-License-Identifier: Apache-2.0
"""Zarr arrays, version 2 and 3, and the finest level of an OME-Zarr image, in a folder."""

import hashlib
import json
from collections.abc import Mapping
from itertools import compress
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from convsmith.errors import ArgumentError, FormatError, UnsupportedError
from convsmith.scanning.lettering import Lettering
from convsmith.scanning.sources.files.bounded import bounded
from convsmith.scanning.sources.files.limits import (
    DEFAULT_BUDGET,
    check_budget,
    check_dtype,
    check_shape,
)
from convsmith.scanning.sources.protocol import Json, Window
from convsmith.scanning.sources.reading import checked_window, spelt

_AT_ONCE = 4  # chunks that Zarr may hold packed and unpacked beside the window


class ZarrSource:
    """An array in a Zarr folder; of an OME-Zarr image, its first dataset, the finest.

    Axes are named by the letters given, by OME-Zarr, or by the array's own dimension names; an
    array that names none is channels first. Slices or times of which there is one are no axis. As
    everywhere in Zarr, a chunk that is not stored holds the fill value. The identity is that of the
    metadata: chunks that change under the same metadata are not noticed.

    Args:
        path: The folder with `zarr.json`, `.zarray` or `.zgroup`.
        axes: Letters for the axes.
        budget: Bytes that a few chunks may take.

    Raises:
        FormatError: if the folder is damaged, or a chunk would not fit the budget.
        UnsupportedError: if its codecs, samples or axes are not served, or it is a group of arrays
            that is no OME-Zarr image.
    """

    place = None

    def __init__(
        self, path: Path, *, axes: str | None = None, budget: int = DEFAULT_BUDGET
    ) -> None:
        self._path, self._axes, self._budget = Path(path).absolute(), axes, budget
        try:
            array, letters = _level_zero(self._path)
            self._array = bounded(array)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self._path}: {error}") from error
        except Exception as error:  # whatever damaged metadata make of themselves
            raise FormatError(f"{self._path}: no readable Zarr array: {error}") from error
        shape = self._array.shape
        letters = axes or letters or _dimension_names(self._array)
        if letters is None:
            check_shape(self._path, shape)
            letters = Lettering.usual(len(shape) - 1).axes
        if len(letters) != len(shape):
            raise ArgumentError(f"{self._path}: axes {letters!r} for an array of shape {shape}")
        # One slice or time is no axis, unless the caller calls it one.
        dropped = "" if axes else "TZ"
        self._is_kept = [
            size > 1 or letter not in dropped for letter, size in zip(letters, shape, strict=True)
        ]
        self._lettering = Lettering("".join(compress(letters, self._is_kept)))
        sizes = list(compress(shape, self._is_kept))
        inside = [sizes[place] for place in self._lettering.order]
        self.shape = (*([] if self._lettering.has_channels else [1]), *inside)
        check_shape(self._path, self.shape)
        self.dtype = check_dtype(self._path, np.dtype(self._array.dtype))
        chunk = self._array.shards or self._array.chunks
        check_budget(
            self._path,
            f"{_AT_ONCE} chunks of {chunk} {self.dtype}",
            _AT_ONCE * prod(chunk) * self.dtype.itemsize,
            budget,
            "store it in smaller chunks",
        )

    @property
    def identity(self) -> dict[str, Json]:
        described = json.dumps(self._array.metadata.to_dict(), sort_keys=True, default=str)
        return {
            "kind": "zarr",
            "path": str(self._path),
            "metadata": hashlib.sha256(described.encode()).hexdigest(),
            "axes": self._axes,
        }

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        order = self._lettering.order
        inside = (slice(0, self.shape[0]), *window) if self._lettering.has_channels else window
        parts = iter(inside[order.index(axis)] for axis in range(len(order)))
        selection = tuple(next(parts) if kept else 0 for kept in self._is_kept)
        try:
            values = np.asarray(self._array[selection])
        except Exception as error:  # whatever damaged chunks make of themselves
            raise FormatError(
                f"{self._path}: the window {spelt(window)} touches a damaged chunk: {error}; write "
                f"it again"
            ) from error
        return np.array(self._lettering.inside(values), self.dtype, order="C")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._path, self._axes, self._budget)


def _level_zero(path: Path) -> tuple[zarr.Array, str | None]:
    """The array of a folder, and the letters that OME-Zarr has for its axes."""
    node = zarr.open(LocalStore(path, read_only=True), mode="r")
    if isinstance(node, zarr.Array):
        return node, None
    attributes: Any = node.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        raise UnsupportedError(
            f"a group that is no OME-Zarr image holds {sorted(node.array_keys())[:8]}; name the "
            f"folder of one of them"
        )
    inner = PurePosixPath(images[0]["datasets"][0]["path"])
    if inner.is_absolute() or ".." in inner.parts:
        raise ValueError(f"its first level is {str(inner)!r}, outside of the folder")
    array = node[str(inner)]
    if not isinstance(array, zarr.Array):
        raise ValueError(f"its first level {str(inner)!r} is no array")
    named = [axis["name"] if isinstance(axis, Mapping) else axis for axis in images[0]["axes"]]
    return array, "".join(str(name)[:1].upper() for name in named)


def _dimension_names(array: zarr.Array) -> str | None:
    """The first letters of an array's own names, if they are letters that are known."""
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = "".join((name or "?")[0].upper() for name in names)
    return letters if letters and set(letters) <= set("CTZDYHXWL") else None


def _reopened(path: Path, axes: str | None, budget: int) -> ZarrSource:
    return ZarrSource(path, axes=axes, budget=budget)
