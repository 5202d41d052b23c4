# SPDX-License-Identifier: Apache-2.0
"""A durable file is whole or absent, whatever fails on the way."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convsmith.scanning.sinks.durable import write_durably


def failing(kind: int) -> object:
    def fail(*_: object) -> None:
        raise OSError(kind, os.strerror(kind))

    return fail


def test_the_file_and_its_folders_are_synced_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{handle}"))
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        events.append("renamed")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_durably(tmp_path / "c/0/7", b"abc", root=tmp_path, scratch=tmp_path / "scratch")
    assert (tmp_path / "c/0/7").read_bytes() == b"abc"
    first, *rest = events
    assert first.startswith(str(tmp_path / "scratch/7."))
    assert rest == ["renamed", str(tmp_path / "c/0"), str(tmp_path / "c"), str(tmp_path)]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    scratch = tmp_path / "scratch"
    write_durably(tmp_path / "chunk", b"old", root=tmp_path, scratch=scratch)
    owner = os if call == "fsync" else Path
    monkeypatch.setattr(owner, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_durably(tmp_path / "chunk", b"new", root=tmp_path, scratch=scratch)
    assert caught.value.filename == str(tmp_path / "chunk")
    assert (tmp_path / "chunk").read_bytes() == b"old"
    assert list(scratch.iterdir()) == []


HALF = """
import errno, resource, signal, sys
from pathlib import Path
from convsmith.scanning.sinks.durable import write_durably

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_durably(folder / "chunk", bytes(2000), root=folder, scratch=folder / "scratch")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_disk_that_takes_only_half_leaves_nothing(tmp_path: Path) -> None:
    """`RLIMIT_FSIZE` stops a write in its middle, as a full disk does."""
    command = [sys.executable, "-c", HALF, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "EFBIG", done.stderr
    assert not (tmp_path / "chunk").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
