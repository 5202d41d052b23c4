# SPDX-License-Identifier: Apache-2.0
"""What every adapter of a file checks: who it is, how much memory it wants, what samples it has."""

from math import prod
from pathlib import Path

import numpy as np

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.protocol import Json

DEFAULT_BUDGET = 2**30
"""Bytes of an image that one source may hold decoded at a time."""


def identity_of(kind: str, path: Path) -> dict[str, Json]:
    """Kind, path, size and time of change: another of these is another image."""
    status = path.stat()
    return {
        "kind": kind,
        "path": str(path),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def check_budget(path: Path, what: str, num_bytes: int, budget: int, remedy: str) -> None:
    """Refuse to hold more than the budget, before any of it is read.

    Raises:
        FormatError: if the file claims more.
    """
    if num_bytes > budget:
        raise FormatError(
            f"{path}: {what} takes {num_bytes:,} bytes, and the budget of a source is {budget:,}; "
            f"{remedy}, or give a larger budget if you trust the file"
        )


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse axes that no scan can walk.

    Raises:
        FormatError: if the image is empty.
        UnsupportedError: if it has no axis of space, or more than three.
    """
    if prod(shape) == 0:
        raise FormatError(f"{path}: an image of shape {shape} is empty; there is nothing to scan")
    if not 2 <= len(shape) <= 4:
        raise UnsupportedError(
            f"{path}: its {len(shape)} axes are {shape}; a source has channels and one to three "
            f"axes of space: scan one part at a time, as an array or by a source of your own"
        )


def check_dtype(path: Path, dtype: np.dtype) -> np.dtype:
    """The type in native byte order.

    Raises:
        UnsupportedError: unless it is bool, an integer or a float of at most 64 bits.
    """
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise UnsupportedError(
            f"{path}: its samples are {dtype}; bool, integers and floats of at most 64 bits are "
            f"read: convert it"
        )
    return dtype.newbyteorder("=")
