# SPDX-License-Identifier: Apache-2.0
"""GeoTIFF, cloud-optimised too, through rasterio: pixels, and where they lie on the ground."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.files.limits import (
    DEFAULT_BUDGET,
    check_budget,
    check_dtype,
    check_shape,
    identity_of,
)
from convsmith.scanning.sources.protocol import Place, Window
from convsmith.scanning.sources.reading import checked_window, spelt

# Pixel scale, transformation, directory of keys.
_GEO_TAGS = (33550, 34264, 34735)
_CODECS = {"none", "lzw", "deflate", "packbits", "zstd", "lzma", "jpeg"}
# One file is one image: GDAL looks at no file beside it.
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


class RasterSource:
    """A GeoTIFF at full resolution, all bands as channels; overviews and masks are not read.

    A dataset belongs to one thread, so each opens its own. Blocks that are not stored hold the
    file's nodata value, which is a value like any other to a network.

    Args:
        path: The file.
        budget: Bytes that one block may take, and that GDAL may keep of them.

    Raises:
        FormatError: if it is damaged, truncated or would not fit the budget.
        UnsupportedError: if rasterio is not installed, the bands have different types, or the
            compression is not served.
    """

    def __init__(self, path: Path, *, budget: int = DEFAULT_BUDGET) -> None:
        self._path, self._budget = Path(path).absolute(), budget
        self._thread = threading.local()
        self.identity = identity_of("raster", self._path)
        dataset = self._dataset()
        self.shape = (dataset.count, dataset.height, dataset.width)
        check_shape(self._path, self.shape)
        codec = dataset.compression.value.lower() if dataset.compression else "none"
        if len(set(dataset.dtypes)) > 1 or codec not in _CODECS:
            raise UnsupportedError(
                f"{self._path}: its bands are {', '.join(dataset.dtypes)}, packed by {codec}; "
                f"bands of one type, packed by one of {sorted(_CODECS)}, are read: convert it, for "
                f"example with gdal_translate"
            )
        self.dtype = check_dtype(self._path, np.dtype(dataset.dtypes[0]))
        rows, columns = dataset.block_shapes[0]
        is_mixed = dataset.interleaving is not None and dataset.interleaving.value == "PIXEL"
        samples = dataset.count if is_mixed else 1
        check_budget(
            self._path,
            f"a block of {rows:,} x {columns:,} x {samples}",
            rows * columns * samples * self.dtype.itemsize,
            budget,
            "store it in smaller tiles",
        )
        self.place = _place_of(dataset)

    def read(self, window: Window) -> np.ndarray:
        (top, bottom), (left, right) = checked_window(window, self.shape[1:])
        if top == bottom or left == right:
            return np.empty((self.shape[0], bottom - top, right - left), self.dtype)
        rasterio = _rasterio(self._path)
        try:
            with self._environment():
                return self._dataset().read(window=((top, bottom), (left, right)))
        except (rasterio.errors.RasterioError, MemoryError, ValueError) as error:
            raise FormatError(
                f"{self._path}: the window {spelt(window)} cannot be decoded: {_cause(error)}; the "
                f"file is damaged or truncated"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._path, self._budget)

    def _dataset(self) -> Any:
        """This thread's dataset."""
        if not hasattr(self._thread, "dataset"):
            rasterio = _rasterio(self._path)
            try:
                with self._environment():
                    self._thread.dataset = rasterio.open(self._path, driver="GTiff")
            except rasterio.errors.RasterioError as error:
                raise FormatError(
                    f"{self._path}: no readable GeoTIFF: {_cause(error)}; it is damaged"
                ) from error
        return self._thread.dataset

    def _environment(self) -> Any:
        return _rasterio(self._path).Env(GDAL_CACHEMAX=self._budget, **_ALONE)


def has_coordinates(path: Path) -> bool:
    """Whether a TIFF says where it lies."""
    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            return any(tag in tiff.pages.first.tags for tag in _GEO_TAGS)
    except Exception:  # damaged: whoever opens it says how
        return False


def _place_of(dataset: Any) -> Place | None:
    """A place that six numbers describe; ground control points and the like do not."""
    if dataset.gcps[0] or dataset.rpcs or (dataset.crs is None and dataset.transform.is_identity):
        return None
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    return Place(crs=dataset.crs.to_wkt() if dataset.crs else "", transform=(a, b, c, d, e, f))


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise UnsupportedError(
            f"{path} is a GeoTIFF, which rasterio reads: pip install 'convsmith[geo]'"
        ) from error
    return rasterio


def _cause(error: BaseException) -> str:
    """GDAL's own words stand behind rasterio's."""
    return f"{error} ({error.__cause__})" if error.__cause__ else str(error)


def _reopened(path: Path, budget: int) -> RasterSource:
    return RasterSource(path, budget=budget)
