# SPDX-License-Identifier: Apache-2.0
"""`export`: the format is the name's ending; the file appears whole or not at all."""

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from uuid import uuid4

import numpy as np

from convsmith.errors import ArgumentError
from convsmith.scanning.sinks.exports.geotiff import write_geotiff
from convsmith.scanning.sinks.exports.overlay import Overlay, write_overlay
from convsmith.scanning.sinks.store import Store
from convsmith.scanning.sources.protocol import Source

_FORMATS = {
    **{".tif": ".tif", ".tiff": ".tif", ".npy": ".npy"},
    **{".png": ".png", ".jpg": ".png", ".jpeg": ".png"},
}
DEFAULT_BUDGET = 2**28
"""Bytes of a result that are held at a time."""


def format_of(target: str | os.PathLike[str]) -> str:
    """The format that a file's name asks for: ".tif", ".npy", or ".png" for any picture.

    Raises:
        ArgumentError: if it is none.
    """
    path = Path(target)
    if path.suffix.lower() not in _FORMATS:
        raise ArgumentError(
            f"export: {path.name} ends in {path.suffix!r}; it may be .tif, .npy, .png or .jpg"
        )
    return _FORMATS[path.suffix.lower()]


def export(
    result: Store | str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    image: Source | np.ndarray | str | os.PathLike[str] | None = None,
    of: int | str | None = None,
    part: str | None = None,
    classes: Sequence[str] | None = None,
    size: int = 1024,
    budget: int = DEFAULT_BUDGET,
) -> Path:
    """Write a finished result as another file.

        .tif .tiff   GeoTIFF: every channel a band, the image's coordinates carried to the result's
                     own grid; of class labels, with their colours
        .npy         NumPy, in the order of axes of the result
        .png .jpg    a picture: the image, shrunken, with the labels or one class's heat map over
                     it, and a legend

    Args:
        result: A `Store`, or its folder.
        target: The file; one that is there is replaced.
        image: Of a picture, the image that was scanned; the file named in the plan if nothing is
            given.
        of: Of a picture of scores, the class, by number or name; the one with the highest score of
            all if nothing is given.
        part: Of the k best classes, "indices" (if nothing is given) or "values".
        classes: Names of the classes; those kept in the result if nothing is given.
        size: Of a picture, the longer side in pixels at most.
        budget: Bytes of the result that may be in memory at a time.

    Raises:
        ArgumentError: if the ending is no format, tiles are missing, or an argument does not fit.
        UnsupportedError: if a picture or a map is asked of a result that has not two axes of space,
            or rasterio is not installed.
        FormatError: if the result is damaged.
        OSError: if the file cannot be written; nothing is left of it.
    """
    store = result if isinstance(result, Store) else Store.open(result)
    target = Path(target).absolute()
    chosen = store.parts[0].name if part is None else part
    if chosen not in {part.name for part in store.parts}:
        raise ArgumentError(
            f"export: part {part!r} of a result that has "
            f"{' and '.join(repr(part.name) for part in store.parts)}"
        )
    writers: dict[str, Callable[[Path], None]] = {
        ".tif": lambda path: write_geotiff(store, path, chosen, classes, budget),
        ".npy": lambda path: _write_npy(store, path, chosen),
        ".png": lambda path: write_overlay(
            store, path, Overlay(image=image, of=of, classes=classes, size=size, budget=budget)
        ),
    }
    writer = writers[format_of(target)]
    _check_finished(store)
    unfinished = target.with_name(f".{uuid4().hex}{target.suffix.lower()}")
    try:
        writer(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _check_finished(store: Store) -> None:
    missing = list(islice(store.missing(), 9))
    if missing:
        many = "at least " if len(missing) == 9 else ""
        raise ArgumentError(
            f"export: {many}{len(missing)} of {len(store.plan)} tiles of {store.folder} are "
            f"missing, such as {missing[0]}; finish the scan first: the same command goes on"
        )


def _write_npy(store: Store, path: Path, part: str) -> None:
    array = store.arrays[part]
    np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=array.shape)
    for number in range(len(store.plan)):
        window = store.plan.tile(number).write
        # Mapped anew for each tile: what one mapping has touched counts as this process's memory.
        whole = np.lib.format.open_memmap(path, mode="r+")
        store.lettering.inside(whole)[(slice(None), *window)] = store.read(window, part=part)
        del whole
