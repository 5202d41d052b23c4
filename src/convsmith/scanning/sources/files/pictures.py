# SPDX-License-Identifier: Apache-2.0
"""PNG, JPEG, BMP and PNM through Pillow: decoded once, whole, if the header's size is affordable.

These formats have no windows. Pillow's own limit on pixels gives way to the budget, which knows how
much memory there is: only the header is read before it is asked.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.files.limits import (
    DEFAULT_BUDGET,
    check_budget,
    check_shape,
    identity_of,
)
from convsmith.scanning.sources.protocol import Window
from convsmith.scanning.sources.reading import checked_window

FORMATS = ("PNG", "JPEG", "BMP", "PPM")
# Pillow's mode -> (what it is converted to, channels, type of a sample, bytes of a pixel in Pillow)
_MODES = {
    "1": ("L", 1, np.uint8, 1),
    "L": ("L", 1, np.uint8, 1),
    "LA": ("LA", 2, np.uint8, 4),
    "P": ("RGB", 3, np.uint8, 4),
    "RGB": ("RGB", 3, np.uint8, 4),
    "RGBA": ("RGBA", 4, np.uint8, 4),
    "I;16": ("I;16", 1, np.uint16, 2),
    "I;16B": ("I;16B", 1, np.uint16, 2),
    "I": ("I", 1, np.int32, 4),
    "F": ("F", 1, np.float32, 4),
}
_ROWS = 64  # copied at a time


class PictureSource:
    """One picture. Its pixels are those of the file: no turning by EXIF, no colour management.

    Grey has one channel, colour three, transparency one more; a palette becomes its colours.

    Args:
        path: The file.
        budget: Bytes that decoding may take.

    Raises:
        FormatError: if it is no such picture, or would not fit the budget decoded.
        UnsupportedError: if it has other channels than these, such as CMYK.
    """

    place = None

    def __init__(self, path: Path, *, budget: int = DEFAULT_BUDGET) -> None:
        self._path, self._budget = Path(path).absolute(), budget
        self._lock = threading.Lock()
        self._pixels: np.ndarray | None = None
        with self._path.open("rb") as file:
            header = _header(file, self._path)
            (width, height), mode = header.size, header.mode
        if mode not in _MODES:
            raise UnsupportedError(
                f"{path}: its pixels are {mode}; grey and RGB are read, with transparency or "
                f"without: convert it"
            )
        _, channels, dtype, in_pillow = _MODES[mode]
        self.dtype = np.dtype(dtype)
        self.shape = (channels, height, width)
        self.identity = identity_of("picture", self._path)
        check_shape(self._path, self.shape)
        # A palette is there twice while it becomes colours.
        pixel = in_pillow + channels * self.dtype.itemsize + (mode == "P")
        self.held_bytes = pixel * width * height
        check_budget(
            self._path,
            f"decoding {width:,} x {height:,} pixels of {mode}",
            self.held_bytes,
            budget,
            "store it as a tiled TIFF, which is read window by window",
        )

        self._check_jpeg(header)

    def read(self, window: Window) -> np.ndarray:
        checked_window(window, self.shape[1:])
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decoded()
        return self._pixels[(slice(None), *window)].copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._path, self._budget)

    def _check_jpeg(self, header: Image.Image) -> None:
        """Whether there are bytes enough for the pixels: what is missing, the decoder makes up.

        A block of 8 by 8 samples takes one bit at the very least, by its Huffman code.

        Raises:
            FormatError: if there are not.
        """
        least = (header.width // 8) * (header.height // 8) // 8
        size = self._path.stat().st_size
        if header.format == "JPEG" and size < least:
            raise FormatError(
                f"{self._path}: a JPEG of {header.width:,} x {header.height:,} pixels takes at "
                f"least {least:,} bytes, and the file has {size:,}; it is truncated or its header "
                f"lies"
            )

    def _decoded(self) -> np.ndarray:
        channels, height, width = self.shape
        try:
            with self._path.open("rb") as file:
                image = _header(file, self._path)
                if (image.height, image.width) != (height, width):
                    raise ValueError(f"its size has changed from {width} x {height}")
                image.load()
                image = image if image.mode == "I;16B" else image.convert(_MODES[image.mode][0])
                pixels = np.empty((height, width, channels), self.dtype)
                for top in range(0, height, _ROWS):
                    rows = image.crop((0, top, width, min(top + _ROWS, height)))
                    pixels[top : top + _ROWS] = np.asarray(rows).reshape(-1, width, channels)
        except (OSError, SyntaxError, ValueError, MemoryError, EOFError) as error:
            raise FormatError(
                f"{self._path}: the picture is damaged or truncated: {error}; fetch it again"
            ) from error
        return pixels.transpose(2, 0, 1)


def is_picture(prefix: bytes) -> bool:
    """Whether a file that begins so is one of the formats that are read."""
    Image.init()
    return any(_accepts(name, prefix) for name in FORMATS if name in Image.OPEN)


def _accepts(name: str, prefix: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is not None and accept(prefix) is True


def _header(file: Any, path: Path) -> Image.Image:
    """The picture before its pixels are decoded. `Image.open` would apply a limit of its own."""
    Image.init()
    prefix = file.read(16)
    for name in FORMATS:
        if name in Image.OPEN and _accepts(name, prefix):
            file.seek(0)
            try:
                return Image.OPEN[name][0](file, str(path))
            except (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError) as error:
                raise FormatError(
                    f"{path}: its header is damaged: {error}; fetch it again"
                ) from error
    raise FormatError(
        f"{path}: it begins with {prefix[:8]!r}; {', '.join(FORMATS)} are read: convert it"
    )


def _reopened(path: Path, budget: int) -> PictureSource:
    return PictureSource(path, budget=budget)
