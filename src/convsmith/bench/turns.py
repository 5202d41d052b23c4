# SPDX-License-Identifier: Apache-2.0
"""Taking turns: everyone who is compared meets the same machine in every round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from statistics import quantiles
from time import perf_counter
from typing import Protocol

from convsmith.bench.results import Time

_BLOCK_S = 0.005  # a clock that ticks in microseconds measures this to a thousandth
_LEAST_ROUNDS = 7  # however long they take: quartiles of fewer say little


class Runner(Protocol):
    """Someone who can do the work so many times and say how many seconds that took."""

    def run(self, calls: int) -> float:
        """Seconds of so many calls."""


def spread(seconds: Sequence[float]) -> Time:
    """Median and quartiles of at least two times.

    >>> spread([0.004, 0.001, 0.002, 0.003, 0.1])
    Time(median_ms=3.0, low_ms=2.0, high_ms=4.0)
    """
    low, middle, high = (1e3 * s for s in quantiles(seconds, method="inclusive"))
    return Time(median_ms=middle, low_ms=low, high_ms=high)


def order(turn: int, runners: int) -> list[int]:
    """Who comes when in a round: each begins once in so many rounds, then the same backwards.

    >>> [order(turn, 3) for turn in range(4)]
    [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    rotated = [(turn + place) % runners for place in range(runners)]
    return rotated if turn // runners % 2 == 0 else rotated[::-1]


@dataclass(frozen=True)
class Race:
    """The times of those who finished, why the others did not, and over how many rounds."""

    times: dict[str, Time]
    errors: dict[str, str]
    rounds: int


def take_turns(
    runners: Mapping[str, Runner],
    rounds: int,
    *,
    budget_s: float = inf,
    block_s: float = _BLOCK_S,
    clock: Callable[[], float] = perf_counter,
) -> Race:
    """Time each runner over some rounds of interleaved blocks.

    A block is one call that does not count, because the one before left its own data in the
    caches, and then as many as fill `block_s`. A runner that fails leaves the race: its times do
    not count. After seven rounds no other begins once `budget_s` is spent.
    """
    start = clock()
    errors: dict[str, str] = {}
    calls: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runners}

    def attempt(name: str, block: Callable[[], None]) -> None:
        if name not in errors:
            try:
                block()
            except Exception as error:  # whatever a peer does wrong is its result, not our end
                errors[name] = said(error)

    def calibrate(name: str) -> None:
        single = min(runners[name].run(1) for _ in range(2))
        calls[name] = max(1, ceil(block_s / max(single, 1e-7)))

    def measure(name: str) -> None:
        runners[name].run(1)
        seconds[name].append(runners[name].run(calls[name]) / calls[name])

    names = list(runners)
    for name in names:
        attempt(name, partial(calibrate, name))
    done = 0
    while done < min(rounds, _LEAST_ROUNDS) or (done < rounds and clock() - start < budget_s):
        for place in order(done, len(names)):
            attempt(names[place], partial(measure, names[place]))
        done += 1
    times = {name: spread(seconds[name]) for name in names if name not in errors}
    return Race(times, errors, done)


def said(error: BaseException) -> str:
    """An error as one line, its kind first; what somebody else's error has to say may be long.

    >>> said(ValueError("no such\\nkernel"))
    'ValueError: no such kernel'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
