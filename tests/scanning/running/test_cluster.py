# SPDX-License-Identifier: Apache-2.0
"""Under Dask the bytes are those of one process, and a worker that dies costs its tiles alone."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convsmith.capture import capture, save
from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.cluster import Order, connected, run_cluster
from convsmith.scanning.running.journal import read_journals
from convsmith.scanning.running.local import run_local
from convsmith.scanning.running.progress import Pace
from convsmith.scanning.running.stopping import Stop
from convsmith.scanning.running.tile import Outcome, Work
from convsmith.scanning.sources import SyntheticSource

from .small_scan import SHAPE, contents, network, plan

Client = pytest.importorskip("distributed", reason="Dask is an extra").Client
pytestmark = [
    # Dask's own: sockets that it closes late, and a loop that it finds anew.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]

Begin = Callable[..., Work]


class Deadly(SyntheticSource):
    """Kills the process that reads one window, as often as there are files to count down."""

    def __init__(self, fuses: Path, window: tuple[slice, ...]) -> None:
        super().__init__(SHAPE)
        self.fuses, self.window = fuses, window

    def read(self, window: tuple[slice, ...]) -> object:
        if window == self.window and (left := sorted(self.fuses.iterdir())):
            left[0].unlink()
            os._exit(9)
        return super().read(window)


def run(work: Work, dask: Any, workers: int, source: SyntheticSource | None = None) -> Outcome:
    """Scan on a client's workers, or in so many processes."""
    save(capture(network(), torch.zeros(2, 2, 16, 16)), work.store.own / "network")
    order = Order(
        sink=work.store.folder,
        fingerprint=work.plan.fingerprint,
        source=source or work.source,
        retries=0,
        nan="error",
    )
    batches = Batches(work.plan)
    pace = Pace(None, total=len(work.plan), done=0, pixels=1)
    with connected(dask, workers) as client:
        numbers = range(len(batches))
        return run_cluster(client, order, batches, numbers, lambda _: False, pace, Stop())


def run_here(work: Work) -> None:
    batches = Batches(work.plan)
    pace = Pace(None, total=len(work.plan), done=0, pixels=1)
    run_local(work, batches, range(len(batches)), lambda _: False, pace, Stop())


def test_two_workers_write_the_bytes_of_one_process(begin: Begin) -> None:
    here, there = begin("here"), begin("there")
    run_here(here)
    threads = {"processes": False, "n_workers": 2, "threads_per_worker": 1}
    with Client(dashboard_address=None, **threads) as client:
        outcome = run(there, client, 0)
    assert sorted(outcome.done) == list(range(len(there.plan)))
    assert contents(there.store.folder) == contents(here.store.folder)
    finished = read_journals(there.store.own / "journal", there.plan.fingerprint, len(there.plan))
    assert finished.tiles.all()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # processes are started one by one
@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_four_workers_of_which_some_die_write_the_same_bytes(
    begin: Begin, tmp_path: Path, deaths: int
) -> None:
    here, there = begin("here", plan=plan(2)), begin("there", plan=plan(2))
    run_here(here)
    fuses = tmp_path / "fuses"
    fuses.mkdir()
    for number in range(deaths):
        (fuses / str(number)).touch()
    outcome = run(there, None, 4, Deadly(fuses, there.plan.tile(30).read))
    assert not outcome.failed
    assert sorted(set(outcome.done)) == list(range(len(there.plan)))
    assert not list(fuses.iterdir())
    assert contents(there.store.folder) == contents(here.store.folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # processes are started one by one
def test_a_tile_that_kills_every_worker_is_given_up_alone(begin: Begin, tmp_path: Path) -> None:
    work = begin(plan=plan(batch=1))
    fuses = tmp_path / "fuses"
    fuses.mkdir()
    for number in range(100):
        (fuses / str(number)).touch()
    outcome = run(work, None, 2, Deadly(fuses, work.plan.tile(5).read))
    assert outcome.failed == {5: "every worker that tried it died"}
    assert sorted(set(outcome.done)) == [n for n in range(len(work.plan)) if n != 5]
    assert len(list(fuses.iterdir())) > 80


def test_nobody_answers_and_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ArgumentError, match="no Dask scheduler answers at nonsense://x"),
        connected("nonsense://x", 0),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(UnsupportedError, match="work under Dask, which is not installed; pip"),
        connected(None, 2),
    ):
        pass
