# SPDX-License-Identifier: Apache-2.0
"""A folder of frames as one source: the first axis of space counts the files in order."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.files.kept import Kept
from convsmith.scanning.sources.files.limits import check_budget
from convsmith.scanning.sources.protocol import Json, Source, Window, held_bytes
from convsmith.scanning.sources.reading import checked_window

Opener = Callable[[Path], Source]


class FramesSource:
    """The images of a folder, each one slice: (channels, frames, rows, columns).

    Files are ordered by name, numbers in names by their value (frame 9 before frame 10); hidden
    ones are left out. The first says what all are; each other is held to it when it is read.

    Args:
        folder: The folder; it holds nothing but frames.
        opener: Opens one frame.
        budget: Bytes of decoded frames that are kept; one of them must fit.

    Raises:
        FormatError: if the folder is empty, or a frame differs from the first.
        UnsupportedError: if a frame is no image with two axes of space.
    """

    place = None

    def __init__(self, folder: Path, opener: Opener, *, budget: int) -> None:
        self._folder, self._opener, self._budget = Path(folder).absolute(), opener, budget
        self._files = sorted(
            (path for path in self._folder.iterdir() if not path.name.startswith(".")),
            key=lambda path: _numbered(path.name),
        )
        if not self._files:
            raise FormatError(f"{folder} is an empty folder; a folder of frames holds images")
        first = opener(self._files[0])
        first_holds = held_bytes(first)
        if len(first.shape) != 3:
            raise UnsupportedError(
                f"{self._files[0]}: its shape is {first.shape}; a frame has channels, rows and "
                f"columns"
            )
        self.dtype = first.dtype
        self.shape = (first.shape[0], len(self._files), *first.shape[1:])
        num_bytes = int(np.prod(first.shape)) * self.dtype.itemsize
        what = f"a frame of {first.shape} {self.dtype}"
        check_budget(self._files[0], what, num_bytes, budget, "scan it on its own")
        self._kept = Kept(budget)
        self.held_bytes = min(budget, num_bytes * len(self._files)) + first_holds

    @property
    def identity(self) -> dict[str, Json]:
        digest = hashlib.sha256()
        for path in self._files:
            status = path.stat()
            digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return {"kind": "frames", "path": str(self._folder), "sha256": digest.hexdigest()}

    def read(self, window: Window) -> np.ndarray:
        (begin, end), *extents = checked_window(window, self.shape[1:])
        sizes = [stop - start for start, stop in extents]
        samples = np.empty((self.shape[0], end - begin, *sizes), self.dtype)
        for number in range(begin, end):
            samples[:, number - begin] = self._frame(number)[(slice(None), *window[1:])]
        return samples

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._folder, self._opener, self._budget)

    def _frame(self, number: int) -> np.ndarray:
        return self._kept.get(number, lambda: self._decoded(self._files[number]))

    def _decoded(self, path: Path) -> np.ndarray:
        frame, expected = self._opener(path), (self.shape[0], *self.shape[2:])
        if frame.shape != expected or frame.dtype != self.dtype:
            raise FormatError(
                f"{path}: its shape is {frame.shape} {frame.dtype}, and the first frame's is "
                f"{expected} {self.dtype}; the frames of a folder are all alike"
            )
        return frame.read(tuple(slice(0, size) for size in expected[1:]))


def _numbered(name: str) -> list[tuple[int, str]]:
    """A key that orders numbers by their value."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _reopened(folder: Path, opener: Opener, budget: int) -> FramesSource:
    return FramesSource(folder, opener, budget=budget)
