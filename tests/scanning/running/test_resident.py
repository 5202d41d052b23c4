# SPDX-License-Identifier: Apache-2.0
"""What a process may take where nobody said."""

from pathlib import Path

import pytest

from convsmith.scanning.running import resident
from convsmith.scanning.running.resident import installed, peak, share

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
