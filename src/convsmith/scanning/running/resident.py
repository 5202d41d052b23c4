# SPDX-License-Identifier: Apache-2.0
"""What this process holds of the machine's memory."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak() -> int:
    """The most bytes that were resident at once so far."""
    if _STATUS.is_file():  # what the system counts for a child begins with its parent's
        lines = _STATUS.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def release() -> None:
    """Collect what only refers to itself, and hand free pages back to the system.

    Graphs are full of cycles: copies of a network outlive their use by minutes, and what the
    allocator keeps of them counts as this process's memory (glibc's is asked; others are left).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
