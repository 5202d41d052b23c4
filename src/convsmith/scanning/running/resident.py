# SPDX-License-Identifier: Apache-2.0
"""What this process holds of the machine's memory, and what there is."""

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

_STATUS = Path("/proc/self/status")
_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container; "max" where it has none
_LEAST = 1 << 30

# glibc's mallopt(3): what is set while tiles run, and where its own adapting ends after.
_TRIM, _MAP_FROM, _MAPS = -1, -3, -4
_KEEPING = {_TRIM: -1, _MAPS: 0}  # nothing is handed back, no array is mapped by itself
_USUAL = {_TRIM: 64 << 20, _MAP_FROM: 32 << 20, _MAPS: 65536}

_lock = Lock()
_keepers = 0


def peak() -> int:
    """The most bytes that were resident at once so far."""
    if _STATUS.is_file():  # what the system counts for a child begins with its parent's
        lines = _STATUS.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def installed() -> int:
    """The bytes of this machine, or what its container may have of them."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _LIMIT.read_text().strip() if _LIMIT.is_file() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine


def share(processes: int) -> int:
    """What each of so many processes may take where nobody said: a quarter of the machine's memory,
    together half of it, and at least 1 GiB. The one that started others counts, too.
    """
    return max(_LEAST, installed() // (2 * max(2, processes)))


def release() -> None:
    """Collect what only refers to itself, and hand free pages back to the system.

    Graphs are full of cycles: copies of a network outlive their use by minutes, and what the
    allocator keeps of them counts as this process's memory (glibc's is asked; others are left).
    """
    gc.collect()
    _hand_back()


@contextmanager
def keeping_pages() -> Iterator[None]:
    """While the block runs, memory that is freed stays with this process, for the next tile.

    glibc maps every large array by itself and hands it back when it is freed: the maps of each
    tile would be pages that the system clears first, which takes as long as a small network does on
    a large tile. Other allocators are left as they are.

    >>> with keeping_pages():
    ...     _ = bytearray(100 << 20)
    """
    global _keepers
    with _lock:
        _keepers += 1
        _allocate(_KEEPING)
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            if not _keepers:
                _allocate(_USUAL)
                _hand_back()


def _allocate(way: dict[int, int]) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        for option, value in way.items():
            libc.mallopt(option, value)


def _hand_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
