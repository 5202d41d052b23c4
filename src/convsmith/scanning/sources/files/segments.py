# SPDX-License-Identifier: Apache-2.0
"""One page of a TIFF: windows of it, decoding the tiles or strips they touch and no others.

tifffile reads the tags and knows the codecs. Which segments a window needs, whether the file can
hold what the tags claim, and how much a segment may unpack to, is decided here.
"""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.files.kept import Kept
from convsmith.scanning.sources.files.limits import check_budget

_PLAIN = {1, 8, 32946, 32773}  # none, deflate under two numbers, PackBits: Python has these
_BY_IMAGECODECS = {5, 50000}  # LZW, Zstandard
_JPEG = 7
# imagecodecs stops where the segment is full. Python's own deflate does not: this is the most that
# it makes of one byte.
_MOST_OF_A_BYTE = 1032


class Page:
    """The segments of one page: (row, column) of a grid for each plane of samples."""

    def __init__(self, path: Path, page: Any, keyframe: Any, budget: int) -> None:
        self._path, self._page, self._key = path, page, keyframe
        try:
            self._read_tags(keyframe)
        except Exception as error:  # tags of any kind and value may stand there
            raise FormatError(
                f"{path}: page {page.index} has senseless tags: {error!r}; its header is damaged"
            ) from error
        self._check(budget)

    def _read_tags(self, key: Any) -> None:
        """Sizes of the page and of its segments, in samples."""
        self.height, self.width = int(key.imagelength), int(key.imagewidth)
        self.samples = int(key.samplesperpixel)
        self._planes = self.samples if int(key.planarconfig) == 2 else 1
        if key.is_tiled:
            self._rows, self._columns = int(key.tilelength), int(key.tilewidth)
        else:
            self._rows, self._columns = min(int(key.rowsperstrip), self.height), self.width
        self._grid = (-(-self.height // self._rows), -(-self.width // self._columns))
        in_segment = self._rows * self._columns * (self.samples // self._planes)
        self._segment_bytes = in_segment * key.dtype.itemsize
        self._decode = key.decode

    def window(self, file: int, kept: Kept, rows: slice, columns: slice) -> np.ndarray:
        """(samples, rows, columns), samples of one plane or of all."""
        shape = (self.samples, rows.stop - rows.start, columns.stop - columns.start)
        result = np.empty(shape, self._key.dtype.newbyteorder("="))
        each = self.samples // self._planes
        for plane, row, column in product(
            range(self._planes),
            _touched(rows, self._rows),
            _touched(columns, self._columns),
        ):
            segment = self._segment(file, kept, plane, row, column)
            down = _overlap(rows, row * self._rows, self._rows)
            across = _overlap(columns, column * self._columns, self._columns)
            target = slice(plane * each, (plane + 1) * each)
            part = segment[down.inside, across.inside].transpose(2, 0, 1)
            result[target, down.outside, across.outside] = part
        return result

    def _segment(self, file: int, kept: Kept, plane: int, row: int, column: int) -> np.ndarray:
        index = (plane * self._grid[0] + row) * self._grid[1] + column
        return kept.get(
            (self._page.index, index), lambda: self._decoded(file, index, (plane, row, column))
        )

    def _decoded(self, file: int, index: int, place: tuple[int, ...]) -> np.ndarray:
        """(rows, columns, samples) of one segment; nodata where the file stores none."""
        offset, size = self._page.dataoffsets[index], self._page.databytecounts[index]
        height = min(self._rows, self.height - place[1] * self._rows)
        width = min(self._columns, self.width - place[2] * self._columns)
        if size == 0:
            shape = (height, width, self.samples // self._planes)
            return np.full(shape, self._key.nodata, self._key.dtype)
        key, more = self._key, {}
        try:
            packed = os.pread(file, size, offset)
            if len(packed) < size:
                raise ValueError(f"{len(packed)} of its {size} bytes are there")
            if key.compression == _JPEG:
                _check_jpeg(packed, self._rows, self._columns)
                more = {"jpegtables": self._page.jpegtables, "jpegheader": key.jpegheader}
            values, _, _ = self._decode(packed, index, **more)
            return np.ascontiguousarray(values[0, :height, :width])
        except Exception as error:  # whatever a decoder makes of damaged bytes
            raise FormatError(
                f"{self._path}: page {self._page.index}, segment {index} is damaged: {error}; "
                f"fetch the file again"
            ) from error

    def _check(self, budget: int) -> None:
        """Whether the tags agree with each other and with the file, and its codec is bounded."""
        page = self._page
        segments = self._planes * self._grid[0] * self._grid[1]
        listed = {len(page.dataoffsets), len(page.databytecounts)}
        if listed != {segments} or segments == 0:
            raise FormatError(
                f"{self._path}: page {page.index} of {self.height} x {self.width} has {segments} "
                f"segments of {self._rows} x {self._columns}, and its tags list "
                f"{len(page.dataoffsets)} offsets and {len(page.databytecounts)} sizes; its "
                f"header is damaged"
            )
        self._check_codec(budget)
        what = f"a segment of {self._rows:,} x {self._columns:,} x {self.samples // self._planes}"
        remedy = "store it in smaller tiles"
        check_budget(self._path, what, self._segment_bytes, budget, remedy)
        size = self._path.stat().st_size
        end = max(map(add, page.dataoffsets, page.databytecounts))
        if end > size:
            raise FormatError(
                f"{self._path}: page {page.index} lists segments up to byte {end:,}, and "
                f"the file has {size:,}; it is truncated or its header lies"
            )

    def _check_codec(self, budget: int) -> None:
        key = self._key
        codecs = {*_PLAIN, *_BY_IMAGECODECS, _JPEG}
        if key.compression not in codecs or key.predictor not in (1, 2, 3):
            raise UnsupportedError(
                f"{self._path}: its compression is {_name(key.compression)}, its predictor "
                f"{_name(key.predictor)}; none, LZW, deflate, PackBits, Zstandard and JPEG are "
                f"read: convert it, for example with tiffcp -c zip"
            )
        if find_spec("imagecodecs") is not None:
            return
        unpacked = max(self._page.databytecounts) * _MOST_OF_A_BYTE
        if key.compression not in _PLAIN or (key.compression != 1 and unpacked > budget):
            raise UnsupportedError(
                f"{self._path}: segments of up to {max(self._page.databytecounts):,} bytes packed "
                f"by {_name(key.compression)} need imagecodecs: pip install 'convsmith[tiff]'"
            )


@dataclass(frozen=True)
class _Overlap:
    """What a window and a segment share: its place in the segment, and in the window."""

    inside: slice
    outside: slice


def _overlap(extent: slice, begin: int, size: int) -> _Overlap:
    start, stop = max(extent.start, begin), min(extent.stop, begin + size)
    return _Overlap(
        slice(start - begin, stop - begin), slice(start - extent.start, stop - extent.start)
    )


def _touched(extent: slice, size: int) -> range:
    """Which segments of this size an extent touches."""
    return range(extent.start // size, -(-extent.stop // size))


def _check_jpeg(packed: bytes, rows: int, columns: int) -> None:
    """A JPEG stream says its size itself, and the decoder believes it. Not beyond its segment.

    Raises:
        ValueError: if it is larger, or says nothing.
    """
    at = 2
    while at + 9 <= len(packed):
        marker = packed[at + 1]
        if packed[at] != 0xFF:
            break
        if marker == 0xFF:  # filling
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(packed[at + 5 : at + 7], "big")
            width = int.from_bytes(packed[at + 7 : at + 9], "big")
            if not (0 < height <= rows and 0 < width <= columns):
                raise ValueError(
                    f"its JPEG stream is {height} x {width}, its segment {rows} x {columns}"
                )
            return
        at += 2 + int.from_bytes(packed[at + 2 : at + 4], "big")
    raise ValueError("its JPEG stream says no size")


def _name(code: Any) -> str:
    """`PNG (34933)`, or whatever stands there."""
    name = getattr(code, "name", None)
    return f"{name} ({int(code)})" if name else repr(code)
