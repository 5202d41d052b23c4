# SPDX-License-Identifier: Apache-2.0
"""TIFF in tiles or strips, BigTIFF, OME-TIFF and stacks of pages, window by window."""

import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from convsmith.errors import ArgumentError, FormatError, UnsupportedError
from convsmith.scanning.lettering import Lettering
from convsmith.scanning.sources.files.kept import Kept
from convsmith.scanning.sources.files.limits import (
    DEFAULT_BUDGET,
    check_dtype,
    check_shape,
    identity_of,
)
from convsmith.scanning.sources.files.segments import Page
from convsmith.scanning.sources.protocol import Window
from convsmith.scanning.sources.reading import checked_window

_ON_PAGE = {"YX", "YXS", "SYX"}  # what one page may hold


class TiffSource:
    """The first image of a TIFF at full resolution; smaller copies of it are not read.

    The samples of a pixel are its channels, or else the axis that the file calls C. Pages of a
    stack, slices and frames are an axis of space. Segments that are not stored hold the file's
    nodata value. Coordinates on the ground are not read; `RasterSource` does.

    Args:
        path: The file.
        axes: Letters for its axes, if the file does not say what they are.
        budget: Bytes of decoded segments that are kept; one of them must fit.

    Raises:
        FormatError: if it is damaged or truncated, or its header claims what the file cannot hold.
        UnsupportedError: if its compression, samples or axes are not served.
    """

    place = None

    def __init__(
        self, path: Path, *, axes: str | None = None, budget: int = DEFAULT_BUDGET
    ) -> None:
        self._path, self._axes, self._budget = Path(path).absolute(), axes, budget
        self._kept, self._lock = Kept(budget), threading.Lock()
        self._pages: dict[int, Page] = {}
        self.identity = identity_of("tiff", self._path) | {"axes": axes}
        try:
            with _logged_errors_raised():
                # Other files that an OME-TIFF names are not opened.
                self._tiff = tifffile.TiffFile(self._path, _multifile=False)
                weakref.finalize(self, self._tiff.close)
                self._series = self._tiff.series[0]
                letters, shape = self._series.axes, self._series.shape
                if self._series.dtype is None:
                    raise ValueError("its samples have no known type")
        except Exception as error:  # whatever damaged tags make of themselves
            raise FormatError(
                f"{self._path}: no readable TIFF: {error}; it is damaged or truncated"
            ) from error
        self._outside = tuple(int(size) for size in shape)
        self._lettering = Lettering(axes or _lettered(self._path, letters))
        if self._lettering.num_space + self._lettering.has_channels != len(shape):
            raise ArgumentError(f"{self._path}: axes {axes!r} for its {letters} of {shape}")
        inside = [self._outside[i] for i in self._lettering.order]
        self.shape = (*([] if self._lettering.has_channels else [1]), *inside)
        self.dtype = check_dtype(self._path, np.dtype(self._series.dtype))
        check_shape(self._path, self.shape)
        self._mapped = self._mapping()
        total = prod(self.shape) * self.dtype.itemsize
        self.held_bytes = 0 if self._mapped is not None else min(budget, total)
        self._on_page = "" if self._mapped is not None else self._checked_pages(letters)

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        order, channels = self._lettering.order, self._lettering.has_channels
        inside = (slice(0, self.shape[0]), *window) if channels else window
        outside = tuple(inside[order.index(axis)] for axis in range(len(order)))
        values = self._decoded(outside) if self._mapped is None else self._mapped[outside]
        return np.array(self._lettering.inside(values), self.dtype, order="C")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._path, self._axes, self._budget)

    def _mapping(self) -> np.ndarray | None:
        """The whole image as a memory map, if it lies unpacked in one piece, as huge ones do.

        Raises:
            FormatError: if the file ends before it does.
        """
        offset = self._series.dataoffset
        if offset is None:
            return None
        dtype = self.dtype.newbyteorder(self._tiff.byteorder)
        end, size = offset + prod(self._outside) * dtype.itemsize, self._path.stat().st_size
        if end > size:
            raise FormatError(
                f"{self._path}: an image of {self._outside} {dtype} would end at byte {end:,}, and "
                f"the file has {size:,}; it is truncated or its header lies"
            )
        return np.memmap(self._path, dtype, mode="r", offset=offset, shape=self._outside)

    def _checked_pages(self, letters: str) -> str:
        """What one page holds, once the first has been checked. Others are when they are read."""
        pages = self._series.pages
        on_page = str(getattr(pages[0], "axes", "")) if len(pages) else ""
        num_stack = len(letters) - len(on_page)
        stacked = prod(self._outside[:num_stack])
        if on_page not in _ON_PAGE or not letters.endswith(on_page) or len(pages) != stacked:
            raise UnsupportedError(
                f"{self._path}: its axes are {letters} of {self._outside} on {len(pages)} pages of "
                f"{on_page or 'nothing'}; pages of {', '.join(sorted(_ON_PAGE))} are read, one "
                f"for each slice: save it so"
            )
        self._page(0)
        return on_page

    def _decoded(self, window: Window) -> np.ndarray:
        """A window in the order of the file: the stack of pages, then what one page holds."""
        num_stack = len(window) - len(self._on_page)
        stack, sizes = window[:num_stack], self._outside[:num_stack]
        rows, columns = (window[num_stack + self._on_page.index(letter)] for letter in "YX")
        file = self._tiff.filehandle.fileno()
        values = np.empty([part.stop - part.start for part in window], self.dtype)
        for index in np.ndindex(values.shape[:num_stack]):
            place = [part.start + i for part, i in zip(stack, index, strict=True)]
            number = int(np.ravel_multi_index(place, sizes)) if place else 0
            samples = self._page(number).window(file, self._kept, rows, columns)
            if self._on_page == "YX":
                values[index] = samples[0]
                continue
            channels = window[num_stack + self._on_page.index("S")]
            order = (1, 2, 0) if self._on_page == "YXS" else (0, 1, 2)
            values[index] = samples[channels].transpose(order)
        return values

    def _page(self, number: int) -> Page:
        with self._lock:  # tags of later pages are read from the file when they are first needed
            if number not in self._pages:
                try:
                    with _logged_errors_raised():
                        page: Any = self._series.pages[number]
                        keyframe = page.keyframe
                except Exception as error:  # whatever damaged tags make of themselves
                    raise FormatError(
                        f"{self._path}: page {number} has no readable tags: {error}"
                    ) from error
                self._pages[number] = Page(self._path, page, keyframe, self._budget)
            return self._pages[number]


@contextmanager
def _logged_errors_raised() -> Iterator[None]:
    """tifffile logs damage and goes on with the pages before it. Half an image is none."""
    logged: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(lambda record: record.thread == threading.get_ident())
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if logged:
        raise tifffile.TiffFileError("; ".join(logged))


def _lettered(path: Path, letters: str) -> str:
    """The file's letters in ours: samples are channels, an unknown axis is a stack of slices."""
    known = letters.replace("S", "C")
    known = "".join(letter if letter in "CTZYX" else "Z" for letter in known)
    if len(set(known)) < len(known) or {"T", "Z"} <= set(known):
        raise UnsupportedError(
            f"{path}: its axes are {letters}; one for the channels and one for slices or frames "
            f"are read, besides rows and columns: save one part of it"
        )
    return known


def _reopened(path: Path, axes: str | None, budget: int) -> TiffSource:
    return TiffSource(path, axes=axes, budget=budget)
