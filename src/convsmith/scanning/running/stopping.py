# SPDX-License-Identifier: Apache-2.0
"""Stopping on request: the first signal asks, the second insists."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether somebody asked the run to end."""

    requested: bool = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """While the block runs, Ctrl-C and SIGTERM ask it to end, and a second one acts as ever.

    Signals reach the main thread alone: in another, they are left as they are.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _ASKING}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        for asking, handler in before.items():
            signal.signal(asking, handler)

    for number in _ASKING:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
