# SPDX-License-Identifier: Apache-2.0
"""How long each operator of a model takes, in the order in which `trace` lists them."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from convsmith.capture.watching import run_watched

_LEAST_ROUNDS, _MOST_ROUNDS = 5, 51


def operator_times(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    budget_s: float = 3.0,
) -> list[tuple[str, float]]:
    """Every operator that a call runs, by name, and the median of its milliseconds.

    The model runs for real, one operator at a time, at least 5 times after a warm-up and as often
    as fits into the budget. A model in training mode is copied first. Layers of this library that
    eager mode hands straight to the compiled core are timed as the torch operator they stand for.

    >>> [name for name, _ in operator_times(torch.nn.ReLU(), [torch.zeros(3)])]
    ['aten.relu.default']
    """
    worked = copy.deepcopy(model).eval() if model.training else model
    rounds: list[list[tuple[str, float]]] = []
    started = perf_counter()
    while len(rounds) <= _LEAST_ROUNDS or (
        len(rounds) < _MOST_ROUNDS and perf_counter() - started < budget_s
    ):
        times: list[tuple[str, float]] = []
        with torch.no_grad():
            run_watched(worked, args, kwargs, partial(_timed, times))
        rounds.append(times)
    names = [name for name, _ in rounds[0]]
    alike = [one for one in rounds[1:] if [name for name, _ in one] == names]
    columns = zip(*([ms for _, ms in one] for one in alike), strict=True)
    return list(zip(names, map(median, columns), strict=True)) if alike else rounds[0]


def _timed(
    times: list[tuple[str, float]], operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    start = perf_counter()
    result = operator(*args, **kwargs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    times.append((str(operator), 1e3 * (perf_counter() - start)))
    return result
