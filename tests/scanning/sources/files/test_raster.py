# SPDX-License-Identifier: Apache-2.0
"""GeoTIFF: the same pixels in any thread, and the place they have on the ground."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources import open_source
from convsmith.scanning.sources.files.raster import RasterSource

from ..windows import assert_reads

rasterio = pytest.importorskip("rasterio")
VALUES = np.random.default_rng(0).integers(0, 200, (3, 137, 150)).astype(np.uint16)
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_100_000.0)


def saved(folder: Path, values: np.ndarray = VALUES, **given: Any) -> Path:
    path = folder / "map.tif"
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(*TRANSFORM),
        "tiled": True,
        "blockxsize": 32,
        "blockysize": 16,
    }
    profile = {name: value for name, value in {**profile, **given}.items() if value is not None}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    return path


@pytest.mark.parametrize("codec", ["none", "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_every_layout(tmp_path: Path, codec: str, interleave: str) -> None:
    source = open_source(saved(tmp_path, compress=codec, interleave=interleave))
    assert isinstance(source, RasterSource)
    assert_reads(source, VALUES, tries=8)


def test_a_cloud_optimised_one_is_read_at_full_resolution(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (1, 700, 800)).astype(np.uint8)
    path = saved(
        tmp_path, values, driver="COG", blocksize=256, tiled=None, blockxsize=None, blockysize=None
    )
    assert_reads(open_source(path), values, tries=6)


def test_the_place_is_the_files(tmp_path: Path) -> None:
    place = open_source(saved(tmp_path)).place
    assert place is not None
    assert place.transform == TRANSFORM
    assert rasterio.crs.CRS.from_wkt(place.crs) == rasterio.crs.CRS.from_epsg(32633)


def test_threads_have_datasets_of_their_own(tmp_path: Path) -> None:
    source = RasterSource(saved(tmp_path, compress="deflate"))
    windows = [(slice(top, top + 30), slice(5, 141)) for top in range(100)]
    with ThreadPoolExecutor(4) as threads:
        for window, samples in zip(windows, threads.map(source.read, windows), strict=True):
            assert np.array_equal(samples, VALUES[(slice(None), *window)])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"cannot be decoded: .*; the file is damaged or tr"):
        RasterSource(path).read((slice(0, 137), slice(0, 150)))
    path.write_bytes(data[:100])
    with pytest.raises(FormatError, match=r"no readable GeoTIFF: .*; it is damaged"):
        RasterSource(path)


def test_what_would_not_fit_or_is_not_served_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, interleave="pixel")
    RasterSource(path, budget=3 * 32 * 16 * 2)
    with pytest.raises(FormatError, match="a block of 16 x 32 x 3 takes 3,072 bytes, and the bud"):
        RasterSource(path, budget=3 * 32 * 16 * 2 - 1)
    path = saved(tmp_path, VALUES.astype(np.uint8), compress="webp")
    with pytest.raises(UnsupportedError, match="its bands are uint8, uint8, uint8, packed by webp"):
        RasterSource(path)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UnsupportedError, match="is a GeoTIFF, which rasterio reads: pip install"):
        open_source(path)
