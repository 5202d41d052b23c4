# SPDX-License-Identifier: Apache-2.0
"""An output has one owner; a dead one owns nothing."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from convsmith.errors import ArgumentError
from convsmith.scanning.running.ownership import Ownership

HOLD = """
import sys, time
from pathlib import Path
from convsmith.scanning.running.ownership import Ownership
with Ownership(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "out" / "convsmith" / "lock"


def refused(lock: Path, by: str) -> None:
    with pytest.raises(ArgumentError, match=f"out belongs to {by}"):
        Ownership(lock).__enter__()


def test_a_second_run_is_told_who_holds_it(lock: Path) -> None:
    with Ownership(lock):
        refused(lock, f"process {os.getpid()} on {socket.gethostname()} since 20")
    with Ownership(lock):
        pass  # released, it is free again


def test_a_holder_that_has_not_written_its_name_yet_holds_it_too(lock: Path) -> None:
    with Ownership(lock):
        lock.write_bytes(b"")
        refused(lock, "another run")


def test_a_killed_process_owns_nothing(lock: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        refused(lock, f"process {other.pid} on")
        other.send_signal(signal.SIGKILL)
    assert json.loads(lock.read_text())["pid"] == other.pid
    with Ownership(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_record_decides(lock: Path) -> None:
    with Ownership(lock):
        refused(
            lock, f"process {os.getpid()} on .*; wait for it or stop it, or remove .* if it is gone"
        )
    record = {"host": socket.gethostname(), "pid": 2**22 + 1, "since": "then"}  # above the most
    lock.write_text(json.dumps(record))
    with Ownership(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    lock.write_text(json.dumps(record | {"host": "elsewhere"}))
    refused(lock, "process 4194305 on elsewhere since then; one run works on an output at a time")


def test_other_failures_of_the_system_pass(lock: Path) -> None:
    lock.parent.parent.mkdir(parents=True)
    lock.parent.write_text("a file where the folder goes")
    with pytest.raises(FileExistsError):
        Ownership(lock).__enter__()
