# SPDX-License-Identifier: Apache-2.0
"""Threads read ahead and write behind; the result is that of one tile after another."""

import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.journal import read_journals
from convsmith.scanning.running.local import READ_AHEAD, WRITE_BEHIND, run_local
from convsmith.scanning.running.progress import Pace, Progress
from convsmith.scanning.running.stopping import Stop, stopping
from convsmith.scanning.running.tile import Outcome, Work
from convsmith.scanning.sources import SyntheticSource

from .small_scan import SHAPE, contents, whole

Begin = Callable[..., Work]


def run(
    work: Work, stop: Stop | None = None, report: Callable[[Progress], None] | None = None
) -> Outcome:
    finished = read_journals(work.store.own / "journal", work.plan.fingerprint, len(work.plan))
    batches = Batches(work.plan)
    pace = Pace(report, total=len(work.plan), done=len(finished), pixels=37 * 53)
    numbers = batches.missing(finished.tiles)
    is_done = finished.tiles.__getitem__
    return run_local(work, batches, numbers, is_done, pace, stop or Stop())


def test_the_result_is_the_whole(begin: Begin) -> None:
    work = begin()
    assert len(run(work).done) == len(work.plan)
    window = tuple(slice(size) for size in work.plan.outputs)
    np.testing.assert_array_equal(work.store.read(window), whole())


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(begin: Begin) -> None:
    once = begin("once")
    run(once)
    stop = Stop(requested=True)  # asked before it began: what is read first is finished
    again = begin("again")
    rounds = [sorted(run(again, stop).done) for _ in range(3)]
    assert all(rounds), "every round finishes something"
    assert sum(map(len, rounds)) == len({tile for tiles in rounds for tile in tiles})
    run(again)
    assert contents(again.store.folder) == contents(once.store.folder)


def test_progress_counts_tiles_of_earlier_runs_but_not_in_the_pace(begin: Begin) -> None:
    told: list[Progress] = []
    work = begin()
    run(work, Stop(requested=True))
    run(work, report=told.append)
    assert told[0].pixels_per_second is None
    assert told[0].done > 0
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert told[-1].done == told[-1].total == len(work.plan)
    assert told[-1].seconds_left == 0
    assert told[-1].pixels_per_second is not None


def test_what_waits_is_bounded(begin: Begin) -> None:
    class Slow(SyntheticSource):
        started = 0

        def read(self, window: tuple[slice, ...]) -> np.ndarray:
            type(self).started += 1
            return super().read(window)

    work = begin(source=Slow(SHAPE))
    ahead: list[int] = []

    def look(progress: Progress) -> None:
        ahead.append(Slow.started - progress.done)

    run(work, report=look)
    # Read ahead, being computed, written behind.
    assert max(ahead) <= (READ_AHEAD + 1 + WRITE_BEHIND + 1) * work.plan.batch


def test_an_error_of_the_disk_ends_the_run_and_its_threads(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError("No space left on device")

    work = begin()
    monkeypatch.setattr(type(work.store), "write", full)
    with pytest.raises(OSError, match="No space left"):
        run(work)
    assert not [t for t in threading.enumerate() if t.name.startswith("scan-")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    calls: list[int] = []
    before = signal.signal(number, lambda n, frame: calls.append(n))
    try:
        with stopping() as stop:
            os.kill(os.getpid(), number)
            assert stop.requested
            assert not calls
            os.kill(os.getpid(), number)
            assert calls == [number]
        assert signal.getsignal(number) is not before
    finally:
        signal.signal(number, before)


def test_signals_are_left_alone_outside_the_main_thread() -> None:
    handlers = []

    def look() -> None:
        with stopping() as stop:
            handlers.append((signal.getsignal(signal.SIGINT), stop.requested))

    thread = threading.Thread(target=look)
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert handlers == [(before, False)]
