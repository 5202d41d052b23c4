# SPDX-License-Identifier: Apache-2.0
"""Giving memory back that nothing holds any more."""

import ctypes
import gc


def release() -> None:
    """Collect what only refers to itself, and hand free pages back to the system.

    Graphs are full of cycles: copies of a network outlive their use by minutes, and what the
    allocator keeps of them counts as this process's memory (glibc's is asked; others are left).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
