# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed at any point, and the disk full: going on gives the bytes of a run that was
left in peace, and little is computed twice.

Children are forked, so that a hundred of them cost seconds; each kills itself at a system call.
"""

import os
import random
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.journal import Journal, read_journals
from convsmith.scanning.running.local import WRITE_BEHIND, run_local
from convsmith.scanning.running.progress import Pace
from convsmith.scanning.running.stopping import Stop
from convsmith.scanning.running.tile import Outcome, Work
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import SyntheticSource

from .small_scan import SHAPE, contents, network, plan

# Tiles that are computed when a run dies and not yet recorded: one in the network's hands, those
# that wait for the writer, one in its hands.
UNSYNCED = WRITE_BEHIND + 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A forked child has no thread pool."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Tallied(nn.Module):
    """Leaves a byte in a file for every tile."""

    def __init__(self, tally: Path) -> None:
        super().__init__()
        self.inner, self.tally = network(), tally

    def forward(self, x: Tensor) -> Tensor:
        with self.tally.open("ab") as file:
            file.write(b"." * len(x))
        return self.inner(x)


def go_on(folder: Path) -> Outcome:
    """What `scan` does with an output that is there."""
    store = Store.open(folder)
    store.sweep()
    made = store.plan
    finished = read_journals(store.own / "journal", made.fingerprint, len(made))
    batches = Batches(made)
    with Journal(store.own / "journal", made.fingerprint) as journal:
        work = Work(
            plan=made,
            network=Tallied(folder.with_suffix(".tally")),
            source=SyntheticSource(SHAPE),
            store=store,
            journal=journal,
        )
        pace = Pace(None, total=len(made), done=len(finished), pixels=1)
        missing = batches.missing(finished.tiles)
        return run_local(work, batches, missing, finished.tiles.__getitem__, pace, Stop())


def in_a_child(action: Callable[[], Any]) -> int:
    """Run it in a forked process; its status, as `os.wait` has it."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except OSError:
            os._exit(1)
        except BaseException:
            os._exit(2)
    return os.waitpid(child, 0)[1]


def die_at(number: int) -> None:
    """Kill this process at one of the calls that make a tile durable; half of the chunk that it was
    writing is lost.
    """
    left = [number]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **keywords: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                if call is fsync and "unfinished/" in os.readlink(f"/proc/self/fd/{args[0]}"):
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **keywords)

        return counted

    fsync = os.fsync
    os.fsync, os.write = deadly(os.fsync), deadly(os.write)
    Path.replace = deadly(Path.replace)  # type: ignore[method-assign]


def begun(folder: Path, **others: Any) -> Path:
    Store.create(folder, plan(batch=1, **others))
    return folder


def check(tmp_path: Path, kills: int, core: int) -> None:
    once = begun(tmp_path / "once", core=core)
    assert not go_on(once).failed
    tiles = len(Store.open(once).plan)
    again = begun(tmp_path / "again", core=core)
    dice = random.Random(kills)
    killed = 0
    for _ in range(kills):

        def run(calls: int = dice.randrange(4, 5 * tiles // kills + 20)) -> None:
            die_at(calls)
            go_on(again)

        status = in_a_child(run)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert in_a_child(lambda: go_on(again)) == 0
    assert contents(again) == contents(once)
    assert killed > kills / 2
    computed = again.with_suffix(".tally").stat().st_size
    assert tiles <= computed <= tiles + killed * UNSYNCED


def test_ten_kills_change_no_byte(tmp_path: Path) -> None:
    check(tmp_path, 10, core=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_kills_change_no_byte(tmp_path: Path) -> None:
    check(tmp_path, 100, core=1)


def test_a_file_that_may_not_grow_ends_the_run_and_costs_nothing(tmp_path: Path) -> None:
    once, again = begun(tmp_path / "once"), begun(tmp_path / "again")
    go_on(once)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))  # a chunk has some 200 bytes
        go_on(again)

    assert os.waitstatus_to_exitcode(in_a_child(limited)) == 1
    assert not [name for name in contents(again) if "/" in name], "no half chunk has a chunk's name"
    go_on(again)
    assert contents(again) == contents(once)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        once = begun(tmp_path / "once", core=2)
        go_on(once)
        again = begun(disk / "again", core=2)
        with pytest.raises(OSError, match="No space left on device"):
            go_on(again)
        done = sum(1 for name in contents(again) if name.startswith("c/"))
        assert 0 < done < len(Store.open(again).plan)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        go_on(again)
        assert contents(again) == contents(once)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
