# SPDX-License-Identifier: Apache-2.0
"""A result as a GeoTIFF: tiled, deflated, on its own grid."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convsmith.errors import UnsupportedError
from convsmith.scanning.sinks.exports.colours import class_colour
from convsmith.scanning.sinks.store import Store

_BLOCK = 512


def write_geotiff(
    store: Store, path: Path, part: str, classes: Sequence[str] | None, budget: int
) -> None:
    """Write one array of a result; a band is written once, block by block, and never read back.

    Raises:
        UnsupportedError: if the result has not two axes of space, or rasterio is not installed.
    """
    rasterio = _rasterio(path)
    if len(store.plan.axes) != 2:
        raise UnsupportedError(
            f"export: a map has two axes of space, and {store.folder} has "
            f"{len(store.plan.axes)}; write it as .npy"
        )
    (chosen,) = (found for found in store.parts if found.name == part)
    height, width = store.plan.outputs
    place = store.place
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": chosen.channels,
        "dtype": chosen.dtype.name,
        "nodata": chosen.missing,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 3 if chosen.dtype.kind == "f" else 2,
        "bigtiff": "if_safer",
    }
    if place is not None:
        profile |= {"crs": place.crs or None, "transform": rasterio.Affine(*place.transform)}
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=max(budget, 2**20)):
        # An image without coordinates gives a map without.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            names = list(classes or store.facts.get("classes", ()))
            if len(names) == chosen.channels:
                file.descriptions = names
            if chosen.dtype.name == "uint8" and chosen.channels == 1:
                file.write_colormap(
                    1, {label: class_colour(label) for label in range(store.plan.out_channels)}
                )
            file.update_tags(convsmith_output=store.plan.output, promise=store.plan.promise)
            for window in _windows(height, width, chosen.channels * chosen.dtype.itemsize, budget):
                file.write(store.read(window, part=part), window=window)


def _windows(height: int, width: int, pixel: int, budget: int) -> Iterator[tuple[slice, slice]]:
    """Whole blocks, as many side by side as the budget holds."""
    columns = max(1, budget // (pixel * _BLOCK * _BLOCK)) * _BLOCK
    for top in range(0, height, _BLOCK):
        for left in range(0, width, columns):
            yield (
                slice(top, min(top + _BLOCK, height)),
                slice(left, min(left + columns, width)),
            )


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise UnsupportedError(
            f"export: {path.suffix} is written through rasterio: pip install 'convsmith[geo]', or "
            f"write .npy"
        ) from error
    return rasterio
