# SPDX-License-Identifier: Apache-2.0
"""Time two networks fairly: in one process, turn by turn, with the spread beside the median."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from convsmith.rewrite.inputs import Inputs

_BLOCK_S = 0.002  # a clock that ticks in microseconds measures this to a thousandth
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 101


@dataclass(frozen=True)
class Spread:
    """Milliseconds per call: the median of all rounds, and the quartiles around it."""

    median_ms: float
    quartiles_ms: tuple[float, float]


@dataclass(frozen=True)
class Times:
    """Times before and after, over so many rounds."""

    before: Spread
    after: Spread
    rounds: int


def interleaved(
    before: Callable[..., Any], after: Callable[..., Any], inputs: Inputs, *, budget_s: float = 2.0
) -> Times:
    """Time two networks on the same inputs, alternating so that both meet the same machine.

    The order within a round alternates too. Rounds are as many as fit into the budget, at least 5
    and at most 101; a call shorter than 2 ms is repeated until a block is that long.
    """
    networks = (before, after)
    with torch.no_grad():
        first = [_block(network, inputs, 1) for network in networks]  # warms caches up
        single = [_block(network, inputs, 1) for network in networks]
        calls = [max(1, ceil(_BLOCK_S / max(s, 1e-7))) for s in single]
        round_s = sum(s * c for s, c in zip(single, calls, strict=True))
        spent = sum(first) + sum(single)
        rounds = min(_MOST_ROUNDS, max(_LEAST_ROUNDS, int((budget_s - spent) / round_s)))
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                block = _block(networks[which], inputs, calls[which])
                seconds[which].append(block / calls[which])
    return Times(_spread(seconds[0]), _spread(seconds[1]), rounds)


def _spread(seconds: list[float]) -> Spread:
    first, middle, third = (1e3 * s for s in quantiles(seconds, method="inclusive"))
    return Spread(middle, (first, third))


def _block(network: Callable[..., Any], inputs: Inputs, calls: int) -> float:
    _wait_for_device(inputs)
    start = perf_counter()
    for _ in range(calls):
        network(*inputs.args, **inputs.kwargs)
    _wait_for_device(inputs)
    return perf_counter() - start


def _wait_for_device(inputs: Inputs) -> None:
    tensors = tree_leaves((inputs.args, inputs.kwargs))
    if any(isinstance(t, torch.Tensor) and t.is_cuda for t in tensors):
        torch.cuda.synchronize()
