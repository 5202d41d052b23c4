# SPDX-License-Identifier: Apache-2.0
"""Zarr arrays of both versions, with every codec that is read; bombs and lies are refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from convsmith.errors import ArgumentError, FormatError, UnsupportedError
from convsmith.scanning.sources.files.stored import ZarrSource

from ..windows import assert_reads

VALUES = np.random.default_rng(0).integers(0, 200, (3, 37, 50)).astype(np.uint8)
CHUNKS = (1, 16, 16)


def saved(folder: Path, values: np.ndarray = VALUES, **given: Any) -> Path:
    path = folder / "image.zarr"
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        **{"chunks": CHUNKS[-values.ndim :], "overwrite": True, **given},
    )
    array[:] = values
    return path


CODECS: dict[str, dict[str, Any]] = {
    "none": {"compressors": None},
    "zstd": {"compressors": ZstdCodec(level=3)},
    "blosc": {"compressors": BloscCodec(cname="lz4")},
    "gzip": {"compressors": GzipCodec()},
    "zstd and a checksum": {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "shards": {"shards": (1, 32, 32), "compressors": ZstdCodec()},
    "version 2, none": {"zarr_format": 2, "compressors": None},
    "version 2, zstd": {"zarr_format": 2, "compressors": numcodecs.Zstd()},
    "version 2, blosc": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
    "version 2, zlib": {"zarr_format": 2, "compressors": numcodecs.Zlib()},
    "version 2, gzip": {"zarr_format": 2, "compressors": numcodecs.GZip()},
}


@pytest.mark.parametrize("codecs", CODECS)
def test_every_codec(tmp_path: Path, codecs: str) -> None:
    path = saved(tmp_path, **CODECS[codecs])
    assert_reads(ZarrSource(path), VALUES, tries=8)


@pytest.mark.parametrize("dtype", [">i2", np.float32, np.bool_])
def test_types_and_orders(tmp_path: Path, dtype: Any) -> None:
    values = VALUES.astype(dtype)
    native = values.astype(values.dtype.newbyteorder("="))
    path = saved(tmp_path, values.transpose(1, 2, 0), chunks=(16, 16, 3))
    assert_reads(ZarrSource(path, axes="YXC"), native, tries=6)
    path = saved(tmp_path, values.transpose(1, 2, 0), chunks=(16, 16, 3), dimension_names="yxc")
    assert_reads(ZarrSource(path), native, tries=6)
    path = saved(tmp_path, values[0], dimension_names=["row", "no axis of ours"])
    assert ZarrSource(path).shape == (37, 50)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_finest_level_of_ome_zarr(tmp_path: Path, version: str) -> None:
    axes = [{"name": name} for name in "tczyx"]
    levels = [{"path": "s0"}, {"path": "s1"}]
    images = [{"version": version, "axes": axes, "datasets": levels}]
    about = {"multiscales": images} if version == "0.4" else {"ome": {"multiscales": images}}
    group = zarr.create_group(
        tmp_path / "ome", zarr_format=2 if version == "0.4" else 3, attributes=about
    )
    for level, values in zip(levels, (VALUES, VALUES[:, ::2, ::2]), strict=True):
        group.create_array(level["path"], data=values[np.newaxis, :, np.newaxis])
    assert_reads(ZarrSource(tmp_path / "ome"), VALUES, tries=6)


def test_a_group_of_other_arrays_is_refused(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "group")
    group.create_array("left", data=VALUES)
    with pytest.raises(UnsupportedError, match=r"no OME-Zarr image holds \['left'\]; name the"):
        ZarrSource(tmp_path / "group")


@pytest.mark.parametrize(
    ("inner", "text"),
    [("../other", "outside of the folder"), ("/tmp", "outside of the"), ("inner", "is no array")],
)
def test_levels_outside_of_the_folder_are_refused(tmp_path: Path, inner: str, text: str) -> None:
    images = [{"axes": ["y", "x"], "datasets": [{"path": inner}]}]
    group = zarr.create_group(tmp_path / "ome", attributes={"ome": {"multiscales": images}})
    group.create_group("inner")
    with pytest.raises(FormatError, match=f"no readable Zarr array: its first level .*{text}"):
        ZarrSource(tmp_path / "ome")


def test_damaged_metadata_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    good = json.loads((path / "zarr.json").read_text())
    for bad in (
        "{",
        "[]",
        json.dumps(good | {"shape": [-1, 2, 3]}),
        json.dumps(good | {"codecs": []}),
    ):
        (path / "zarr.json").write_text(bad)
        with pytest.raises(FormatError, match="no readable Zarr array: "):
            ZarrSource(path)


def test_chunks_beyond_the_budget_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    described = json.loads((path / "zarr.json").read_text())
    described["shape"] = [3, 2**40, 2**40]
    described["chunk_grid"]["configuration"]["chunk_shape"] = [1, 2**20, 2**20]
    (path / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(FormatError, match=r"4 chunks of \(1, 1048576, 1048576\) uint8 takes 4,39"):
        ZarrSource(path)


def test_an_image_without_end_is_read_where_it_is_asked(tmp_path: Path) -> None:
    path = saved(tmp_path)
    described = json.loads((path / "zarr.json").read_text())
    described["shape"] = [3, 2**40, 2**40]
    (path / "zarr.json").write_text(json.dumps(described))
    far = slice(2**40 - 3, 2**40)
    assert not ZarrSource(path).read((far, far)).any()


@pytest.mark.parametrize(
    "codecs", [name for name in CODECS if not {"none", "shards"} & {name.split(", ")[-1]}]
)
def test_chunks_that_would_become_more_are_refused(tmp_path: Path, codecs: str) -> None:
    """A chunk of a larger array under the metadata of this one."""
    chunk = "0.0.0" if "version 2" in codecs else "c/0/0/0"
    large = np.ones((3, 2048, 2048), np.uint8)
    bomb = (saved(tmp_path, large, chunks=(1, 2048, 2048), **CODECS[codecs]) / chunk).read_bytes()
    path = saved(tmp_path, **CODECS[codecs])
    (path / chunk).write_bytes(bomb)
    with pytest.raises(FormatError, match=r"packed, it has .* bytes and becomes "):
        ZarrSource(path).read((slice(0, 5), slice(0, 5)))


def test_chunks_that_say_no_size_or_are_torn_are_refused(tmp_path: Path) -> None:
    window = (slice(0, 5), slice(0, 5))
    for codecs, data in (
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + bytes(8)),  # a frame without a size
        ("zstd", b"\x28\xb5"),
        ("blosc", bytes(4)),
    ):
        path = saved(tmp_path, **CODECS[codecs])
        (path / "c/0/0/0").write_bytes(data)
        with pytest.raises(FormatError, match="does not say what it becomes; a chunk has 256"):
            ZarrSource(path).read(window)
    path = saved(tmp_path, **CODECS["gzip"])
    (path / "c/0/0/0").write_bytes(gzip.compress(bytes(256))[:-30] + bytes(22))
    with pytest.raises(FormatError, match="touches a damaged chunk: "):
        ZarrSource(path).read(window)
    (path / "c/0/0/0").write_bytes(b"\xff" * 40)
    with pytest.raises(FormatError, match="its 40 bytes are no deflate: "):
        ZarrSource(path).read(window)
    path = saved(tmp_path, **CODECS["zstd and a checksum"])
    data = bytearray((path / "c/0/0/0").read_bytes())
    data[-1] ^= 1
    (path / "c/0/0/0").write_bytes(data)
    with pytest.raises(FormatError, match="touches a damaged chunk: Stored and computed checksum"):
        ZarrSource(path).read(window)


def test_other_codecs_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, zarr_format=2, compressors=numcodecs.LZMA())
    with pytest.raises(UnsupportedError, match="its chunks are packed by LZMA; Zstandard, Blosc"):
        ZarrSource(path)
    path = saved(tmp_path, zarr_format=2, filters=[numcodecs.Delta(dtype="u1")], compressors=None)
    with pytest.raises(UnsupportedError, match="its chunks are packed by Delta; Zstandard, Blosc"):
        ZarrSource(path)


def test_axes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"axes 'YX' for an array of shape \(3, 37, 50\)"):
        ZarrSource(saved(tmp_path), axes="YX")
