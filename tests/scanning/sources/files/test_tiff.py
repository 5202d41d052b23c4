# SPDX-License-Identifier: Apache-2.0
"""TIFF of every layout that is served, window by window; the rest is refused by name."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given as of
from hypothesis import settings
from hypothesis import strategies as st

from convsmith.errors import ArgumentError, FormatError, UnsupportedError
from convsmith.scanning.sources.files.tiff import TiffSource

from ..windows import assert_reads


def image(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 200, shape)
    return values.astype(dtype)


def saved(folder: Path, values: np.ndarray, **given: Any) -> Path:
    path = folder / "image.tif"
    tifffile.imwrite(path, values, **given)
    return path


RGB = {"photometric": "rgb"}
GREY = {"photometric": "minisblack"}
TILES = {"tile": (16, 32)}
PLANES = {"planarconfig": "separate"}
LAYOUTS = {
    "grey": ((37, 50), GREY),
    "grey, one row": ((1, 50), GREY),
    "grey, one column": ((37, 1), GREY),
    "one pixel": ((1, 1), GREY),
    "strips": ((37, 50), {**GREY, "rowsperstrip": 7, "compression": "zlib"}),
    "strips, LZW": ((37, 50), {**GREY, "rowsperstrip": 5, "compression": "lzw"}),
    "strips, packbits": ((37, 50), {**GREY, "rowsperstrip": 5, "compression": "packbits"}),
    "tiles": ((37, 50), {**GREY, **TILES}),
    "tiles, zstd": ((70, 90), {**GREY, **TILES, "compression": "zstd"}),
    "tiles, differences": ((70, 90), {**GREY, **TILES, "compression": "zlib", "predictor": 2}),
    "colour": ((37, 50, 3), RGB),
    "colour, tiles": ((37, 50, 3), {**RGB, **TILES, "compression": "zlib"}),
    "colour, planes": ((3, 37, 50), {**RGB, **PLANES, **TILES, "compression": "zlib"}),
    "colour, planes in strips": ((3, 37, 50), {**RGB, **PLANES, "compression": "zlib"}),
    "six channels": ((37, 50, 6), {**GREY, "planarconfig": "contig", "compression": "zlib"}),
    "bigtiff": ((37, 50), {**GREY, **TILES, "bigtiff": True}),
    "big-endian": ((37, 50), {**GREY, "byteorder": ">"}),
    "big-endian tiles": ((37, 50), {**GREY, **TILES, "byteorder": ">", "compression": "zlib"}),
    "stack": ((4, 37, 50), GREY),
    "stack, packed": ((4, 37, 50), {**GREY, "compression": "zlib"}),
    "stack, colour": ((4, 37, 50, 3), {**RGB, "compression": "zlib"}),
    "stack without description": ((4, 37, 50), {**GREY, "metadata": None, **TILES}),
    "imagej": ((4, 3, 37, 50), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    "ome": ((4, 3, 37, 50), {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
    "ome, channels": ((3, 37, 50), {"ome": True, "metadata": {"axes": "CYX"}, **GREY, **TILES}),
}
LAST = {"colour", "colour, tiles", "six channels"}  # channels last in the file
FIRST = {"colour, planes", "colour, planes in strips", "ome, channels"}
SECOND = {"imagej", "ome"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_every_layout(tmp_path: Path, layout: str, dtype: type) -> None:
    shape, given = LAYOUTS[layout]
    if dtype is np.int16 and layout == "imagej":
        dtype = np.uint16  # ImageJ knows no signed samples
    if dtype is np.float32 and "predictor" in given:
        given = {**given, "predictor": 3}
    values = image(*shape, dtype=dtype)
    source = TiffSource(saved(tmp_path, values, **given))
    if layout in LAST:
        whole = values.transpose(2, 0, 1)
    elif layout == "stack, colour":
        whole = values.transpose(3, 0, 1, 2)
    elif layout in SECOND:
        whole = values.transpose(1, 0, 2, 3)
    else:
        whole = values if layout in FIRST else values[np.newaxis]
    assert_reads(source, whole)


@settings(max_examples=20)
@of(
    size=st.tuples(st.integers(2, 70), st.integers(2, 70)),
    tile=st.none() | st.tuples(st.sampled_from([16, 32, 48]), st.sampled_from([16, 64])),
    rows=st.integers(1, 80),
    layout=st.sampled_from(["grey", "colour", "planes", "stack"]),
    packing=st.sampled_from([{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": 2}]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int32]),
    order=st.sampled_from("<>"),
)
def test_any_window_of_any_tiff(
    size: tuple[int, int],
    tile: tuple[int, int] | None,
    rows: int,
    layout: str,
    packing: dict[str, Any],
    dtype: type,
    order: Any,
) -> None:
    shapes = {"grey": size, "colour": (*size, 3), "planes": (3, *size), "stack": (3, *size)}
    values = image(*shapes[layout], dtype=dtype)
    given = {**(GREY if layout in ("grey", "stack") else RGB), **packing, "byteorder": order}
    given |= {"tile": tile} if tile else {"rowsperstrip": rows}
    given |= {"planarconfig": "separate"} if layout == "planes" else {}
    whole = values.transpose(2, 0, 1) if layout == "colour" else values
    with TemporaryDirectory() as folder:
        source = TiffSource(saved(Path(folder), values, **given))
        assert_reads(source, whole[np.newaxis] if layout in ("grey", "stack") else whole, tries=8)


def test_jpeg_tiles_are_those_of_tifffile(tmp_path: Path) -> None:
    path = saved(tmp_path, image(70, 90, 3), **RGB, tile=(32, 32), compression="jpeg")
    assert_reads(TiffSource(path), tifffile.imread(path).transpose(2, 0, 1))


def test_letters_say_what_the_file_does_not(tmp_path: Path) -> None:
    values = image(4, 37, 50)
    path = saved(tmp_path, values, **GREY, compression="zlib")
    assert_reads(TiffSource(path, axes="CYX"), values)
    assert_reads(TiffSource(path, axes="TYX"), values[np.newaxis])
    with pytest.raises(ArgumentError, match=r"axes 'YX' for its QYX of \(4, 37, 50\)"):
        TiffSource(path, axes="YX")


def test_the_first_level_of_a_pyramid_is_read(tmp_path: Path) -> None:
    values = image(64, 80)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(values, **GREY, **TILES, subifds=1)
        writer.write(values[::2, ::2], **GREY, **TILES, subfiletype=1)
    assert_reads(TiffSource(tmp_path / "pyramid.tif"), values[np.newaxis])


def test_threads_share_a_source_whose_kept_segments_stay_within_the_budget(tmp_path: Path) -> None:
    values = image(3, 300, 200)
    path = saved(tmp_path, values, **GREY, **TILES, compression="zlib")
    source = TiffSource(path, budget=10 * 16 * 32)
    windows = [
        (slice(z, z + 1), slice(y, y + 90), slice(5, 191)) for z in range(3) for y in range(200)
    ]
    with ThreadPoolExecutor(4) as threads:
        for window, samples in zip(windows, threads.map(source.read, windows), strict=True):
            assert np.array_equal(samples[0], values[window])
            assert source._kept.num_bytes <= 10 * 16 * 32


def test_only_the_segments_of_a_window_are_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path, image(160, 320), **GREY, **TILES, compression="zlib")
    source = TiffSource(path)
    source.read((slice(16, 32), slice(31, 33)))
    assert source._kept.num_bytes == 2 * 16 * 32


def test_segments_that_are_not_stored_hold_the_nodata_value(tmp_path: Path) -> None:
    values = image(64, 64)
    path = saved(tmp_path, values, **GREY, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tags = tiff.pages[0].tags
        for name in ("TileOffsets", "TileByteCounts"):
            tags[name].overwrite([*tags[name].value[:3], 0])
    values[32:, 32:] = 0
    assert_reads(TiffSource(path), values[np.newaxis])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    for name, given in {"packed": {"compression": "zlib"}, "plain": {}}.items():
        path = saved(tmp_path, image(64, 64), **GREY, **TILES, **given)
        data = path.read_bytes()
        path.write_bytes(data[:-200])
        with pytest.raises(FormatError, match=r"lists segments up to byte .*, and the file has"):
            TiffSource(path)
        assert name
    path = saved(tmp_path, image(64, 64), **GREY)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError, match=r"an image of \(64, 64\) uint8 would end at byte"):
        TiffSource(path)
    path.write_bytes(data[:5])
    with pytest.raises(FormatError, match=r"no readable TIFF: .*; it is damaged or truncated"):
        TiffSource(path)


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, image(64, 64), **GREY, **TILES, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    source = TiffSource(path)
    source.read((slice(0, 16), slice(0, 64)))
    with pytest.raises(
        FormatError, match=r"page 0, segment 3 is damaged: .*; fetch the file again"
    ):
        source.read((slice(0, 64), slice(0, 64)))


def test_a_jpeg_that_is_larger_than_its_tile_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, image(32, 32), **GREY, tile=(32, 32), compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        (offset,) = tiff.pages[0].dataoffsets
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0", offset)
    for size, text in (
        (60000, "its JPEG stream is 60000 x 32, its segment 32 x 32"),
        (0, "is 0 x"),
    ):
        data[frame + 5 : frame + 7] = size.to_bytes(2, "big")
        path.write_bytes(data)
        with pytest.raises(FormatError, match=f"segment 0 is damaged: .*{text}"):
            TiffSource(path).read((slice(0, 32), slice(0, 32)))
    data[offset + 2] = 0
    path.write_bytes(data)
    with pytest.raises(FormatError, match="its JPEG stream says no size"):
        TiffSource(path).read((slice(0, 32), slice(0, 32)))


def test_a_header_that_claims_too_much_is_refused_before_reading(tmp_path: Path) -> None:
    path = saved(tmp_path, image(64, 64), **GREY, compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tiff.pages[0].tags[name].overwrite(60000)
    with pytest.raises(FormatError, match="a segment of 60,000 x 60,000 x 1 takes 3,600,000,000"):
        TiffSource(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["RowsPerStrip"].overwrite(16)
    with pytest.raises(FormatError, match=r"no readable TIFF: .* incorrect StripOffsets count \(1"):
        TiffSource(path)


def test_senseless_tags_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, image(64, 64), **GREY, **TILES, compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(0)
    with pytest.raises(FormatError, match="page 0 has senseless tags: ZeroDivisionError"):
        TiffSource(path)


def test_what_is_not_served_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, image(64, 64), **GREY, compression="png")
    with pytest.raises(UnsupportedError, match=r"its compression is PNG \(34933\), its predictor"):
        TiffSource(path)
    path = saved(tmp_path, image(64, 64, dtype=np.complex64), **GREY)
    with pytest.raises(UnsupportedError, match="its samples are complex64; bool, integers and"):
        TiffSource(path)
    given = {"ome": True, "metadata": {"axes": "TZCYX"}}
    path = saved(tmp_path, image(2, 3, 4, 30, 30), **given)
    with pytest.raises(UnsupportedError, match="its axes are TZCYX; one for the channels and one"):
        TiffSource(path)
    path = saved(tmp_path, image(16, 40, 50), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(UnsupportedError, match=r"its axes are ZYX of \(16, 40, 50\) on 1 pages of"):
        TiffSource(path)
    path = saved(tmp_path, image(64, 64), **GREY, compression="lzw")
    monkeypatch.setattr("convsmith.scanning.sources.files.segments.find_spec", lambda _: None)
    with pytest.raises(
        UnsupportedError, match=r"packed by LZW \(5\) need imagecodecs: pip install"
    ):
        TiffSource(path)


def test_later_pages_are_checked_when_they_are_read(tmp_path: Path) -> None:
    everything = (slice(0, 3), slice(0, 40), slice(0, 50))
    path = saved(tmp_path, image(3, 40, 50), **GREY, compression="zlib")
    data = path.read_bytes()
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[2].tags["StripByteCounts"].overwrite(10**6)
    source = TiffSource(path)
    source.read((slice(0, 2), slice(0, 40), slice(0, 50)))
    with pytest.raises(FormatError, match="page 2 lists segments up to byte 1,0"):
        source.read(everything)

    # What tifffile makes of other damage.
    path.write_bytes(data)
    source = TiffSource(path)
    pages = list(source._series.pages)
    pages[1].dataoffsets = ()
    with pytest.raises(FormatError, match="page 1 of 40 x 50 has 1 segments of 40 x 50, and its"):
        source.read(everything)
    source._series = SimpleNamespace(pages=[*pages[:1], None, None])
    with pytest.raises(FormatError, match="page 1 has no readable tags"):
        source.read(everything)


def test_pages_that_end_early_are_no_shorter_image(tmp_path: Path) -> None:
    """tifffile logs it, and shows the pages before."""
    path = saved(tmp_path, image(3, 40, 50), **GREY, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[2].offset
    data = bytearray(path.read_bytes())
    data[last : last + 2] = b"\xff\xff"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"no readable TIFF: .* suspicious number of tags 65535"):
        TiffSource(path)
