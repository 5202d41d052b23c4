# SPDX-License-Identifier: Apache-2.0
"""One process: threads read ahead, the calling thread computes, a thread writes behind.

readers --(at most READ_AHEAD batches)--> network --(at most WRITE_BEHIND batches)--> writer
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.progress import Pace
from convsmith.scanning.running.stopping import Stop
from convsmith.scanning.running.tile import Outcome, Pixels, Work, compute, read, write

READ_AHEAD, WRITE_BEHIND = 2, 2  # batches


def run_local(
    work: Work,
    batches: Batches,
    numbers: Iterable[int],
    done: Callable[[int], bool],
    pace: Pace,
    stop: Stop,
) -> Outcome:
    """Compute these batches here. When asked to stop, finish what is computed and write it."""
    outcome = Outcome()
    reading = ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="scan-read")
    writing = ThreadPoolExecutor(1, thread_name_prefix="scan-write")
    behind: deque[Future[Outcome]] = deque()

    def settle(most: int) -> None:
        while len(behind) > most:
            one = behind.popleft().result()
            outcome.add(one)
            pace.count(done=len(one.done), failed=len(one.failed))

    try:
        for pixels in _read_ahead(reading, work, batches, numbers, done):
            behind.append(writing.submit(write, work, compute(work, pixels)))
            settle(WRITE_BEHIND)
            if stop.requested:
                break
        settle(0)
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown()
    return outcome


def _read_ahead(
    reading: ThreadPoolExecutor,
    work: Work,
    batches: Batches,
    numbers: Iterable[int],
    done: Callable[[int], bool],
) -> Iterator[Pixels]:
    """Batches in order, while the next ones are being read."""
    ahead: deque[Future[Pixels]] = deque()
    for number in numbers:
        ahead.append(reading.submit(read, work, batches[number], done))
        if len(ahead) > READ_AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
