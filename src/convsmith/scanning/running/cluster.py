# SPDX-License-Identifier: Apache-2.0
"""Many processes under Dask: tile numbers travel, pixels and weights do not.

Each worker opens the output, the network that lies in it and the image by itself, once, and writes
its own chunks and its own journal. A worker that dies costs the tiles it had at hand: they are done
again by another.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import torch

from convsmith.capture import load
from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.scanning.preparing import runnable
from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.journal import JOURNAL, Journal
from convsmith.scanning.running.progress import Pace
from convsmith.scanning.running.resident import keeping_pages
from convsmith.scanning.running.stopping import Stop
from convsmith.scanning.running.tile import Outcome, Work, run_tiles
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import Source

NETWORK = "network"  # the folder that workers load
TASK_BATCHES = 4  # batches that travel in one message: neighbours, whose reads overlap
TASKS_AHEAD = 2  # per worker: one to compute, one to begin with when it is done


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker must know to find everything else."""

    sink: Path
    fingerprint: str
    source: Source
    retries: int
    nan: Literal["error", "allow"]


@contextmanager
def connected(dask: Any, workers: int) -> Iterator[Any]:
    """A Dask client: the one given, one of the scheduler at an address, or one of so many local
    processes, which end with the block.

    Raises:
        UnsupportedError: if Dask is not installed.
        ArgumentError: if no scheduler answers at the address.
    """
    try:
        import distributed
    except ImportError:
        raise UnsupportedError(
            "scan: several processes work under Dask, which is not installed; "
            "pip install 'convsmith[dask]', or scan with workers=0"
        ) from None
    if isinstance(dask, distributed.Client):
        yield dask
    elif dask is not None:
        try:
            client = distributed.Client(dask, timeout="10s")
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"scan: no Dask scheduler answers at {dask}: {error}; start one with "
                "`dask scheduler`, or scan with workers=N"
            ) from None
        with client:
            yield client
    else:
        with (
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=None,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


def run_cluster(
    client: Any,
    order: Order,
    batches: Batches,
    numbers: Iterable[int],
    done: Callable[[int], bool],
    pace: Pace,
    stop: Stop,
) -> Outcome:
    """Compute these batches on the workers of a client, a bounded number of them under way."""
    from distributed import KilledWorker, as_completed

    outcome = Outcome()
    waiting = iter(numbers)
    under_way = as_completed(with_results=True, raise_errors=False)
    tasks: dict[Any, list[int]] = {}

    def submit(task: list[int]) -> None:
        tiles = [batches[number] for number in task]
        finished = [tile for batch in tiles for tile in batch if done(tile)]
        future = client.submit(run_task, order, tiles, finished, pure=False)
        tasks[future] = task
        under_way.add(future)

    def refill() -> None:
        most = max(1, sum(client.nthreads().values())) * TASKS_AHEAD
        while not stop.requested and len(tasks) < most and (task := _next(waiting)):
            submit(task)

    refill()
    for future, result in under_way:
        task = tasks.pop(future)
        if future.status == "finished":
            found = result
        elif not isinstance(result[1], KilledWorker):
            client.cancel(list(tasks))
            raise result[1]
        elif len(task) > 1:
            found = Outcome()  # which of them kills is found out one by one
            for number in task:
                submit([number])
        else:
            wanted = [tile for tile in batches[task[0]] if not done(tile)]
            found = Outcome(failed=dict.fromkeys(wanted, "every worker that tried it died"))
        outcome.add(found)
        pace.count(done=len(found.done), failed=len(found.failed))
        refill()
    return outcome


def _next(numbers: Iterator[int]) -> list[int]:
    return list(islice(numbers, TASK_BATCHES))


def run_task(order: Order, tiles: list[range], finished: list[int]) -> Outcome:
    """On a worker: a few batches, but for the tiles that are done."""
    work = _work(order)
    outcome = Outcome()
    with keeping_pages():
        for batch in tiles:
            outcome.add(run_tiles(work, batch, set(finished).__contains__))
    work.journal.sync()
    return outcome


_lock = Lock()
_opened: dict[tuple[Path, str], Work] = {}  # the last scan of this process


def _work(order: Order) -> Work:
    """The network, the output and a journal, opened once in a process."""
    key = (order.sink, order.fingerprint)
    with _lock:
        if key not in _opened:
            for work in _opened.values():
                work.journal.close()
            _opened.clear()
            _opened[key] = _open(order)
        return _opened[key]


def _open(order: Order) -> Work:
    store = Store.open(order.sink)
    plan = store.plan
    torch.set_num_threads(plan.threads)
    return Work(
        plan=plan,
        network=runnable(load(store.own / NETWORK), plan),
        source=order.source,
        store=store,
        journal=Journal(store.own / JOURNAL, order.fingerprint),
        retries=order.retries,
        nan=order.nan,
    )
