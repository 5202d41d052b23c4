# SPDX-License-Identifier: Apache-2.0
"""What a process may take where nobody said."""

import ctypes
import mmap
import resource
from pathlib import Path

import pytest
import torch

from convsmith.scanning.running import resident
from convsmith.scanning.running.resident import installed, keeping_pages, peak, release, share

GIB = 1 << 30


def test_it_is_a_share_of_the_machine_or_of_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(resident, "_LIMIT", limit)
    machine = installed()
    assert peak() < machine
    for text, bytes_ in (("max\n", machine), (f"{machine // 2}\n", machine // 2)):
        limit.write_text(text)
        assert installed() == bytes_
    monkeypatch.setattr(resident.os, "sysconf", lambda name: 1 if "SIZE" in name else 64 * GIB)
    limit.write_text(str(60 * GIB))
    assert [share(n) for n in (1, 2, 3, 5, 100)] == [15 * GIB, 15 * GIB, 10 * GIB, 6 * GIB, GIB]


def _fresh_pages() -> int:
    """How many pages the system clears while a large array comes and goes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_pages_stay_for_the_next_tile_and_go_back_at_the_end() -> None:
    """A gap in the heap that is large enough serves later arrays, too: once handed back, its pages
    are fresh the first time."""
    pages = (48 << 20) // mmap.PAGESIZE
    release()
    with keeping_pages():
        with keeping_pages():
            assert _fresh_pages() > pages / 2
        # What the interpreter allocates beside it may take a page of the gap a few times.
        assert min(_fresh_pages() for _ in range(20)) < pages / 10
    assert _fresh_pages() > pages / 2
