# SPDX-License-Identifier: Apache-2.0
"""How long each operator of a model takes, in the order in which `trace` lists them."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.capture.tracing import plain_attention

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
        clock = _Clock()
        with ExitStack() as stack:
            for context in (torch.no_grad(), plain_attention(), _Watcher()):
                stack.enter_context(context)
            stack.enter_context(enable_python_dispatcher())
            stack.enter_context(clock)
            worked(*args, **(kwargs or {}))
        rounds.append(clock.times)
    names = [name for name, _ in rounds[0]]
    alike = [one for one in rounds[1:] if [name for name, _ in one] == names]
    columns = zip(*([ms for _, ms in one] for one in alike), strict=True)
    return list(zip(names, map(median, columns), strict=True)) if alike else rounds[0]


class _Watcher(TorchFunctionMode):
    """Keeps every layer on the way through torch's operators: where nothing watches, some of this
    library's go past them.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _Clock(SchemaCheckMode):
    """Sees every operator before torch takes it apart, as the recorder of `trace` does."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self, _dispatch_key=torch._C.DispatchKey.PreDispatch)
        self.times: list[tuple[str, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Below this operator torch is as fast as ever: nothing of Python looks on.
        with torch._C._DisablePythonDispatcher():
            start = perf_counter()
            result = func(*args, **(kwargs or {}))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append((str(func), 1e3 * (perf_counter() - start)))
        return result
