# SPDX-License-Identifier: Apache-2.0
"""Running a model for real while somebody looks at every operator, in the order of `trace`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.capture.tracing import plain_attention

# Calls an operator on its arguments, and gives back what it made.
Way = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


def run_watched(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None, way: Way
) -> Any:
    """Call a model; every operator goes through `way`, before torch takes it apart.

    Below `way` torch is as fast as ever: nothing of Python looks on. Layers of this library that
    eager mode hands straight to the compiled core run as the torch operator they stand for.

    >>> seen = []
    >>> def way(operator, args, kwargs):
    ...     seen.append(str(operator))
    ...     return operator(*args, **kwargs)
    >>> _ = run_watched(nn.ReLU(), [torch.zeros(3)], None, way)
    >>> seen
    ['aten.relu.default']
    """
    with ExitStack() as stack:
        for context in (plain_attention(), _Torch(), enable_python_dispatcher(), _Watcher(way)):
            stack.enter_context(context)
        return model(*args, **(kwargs or {}))


class _Torch(TorchFunctionMode):
    """Keeps every layer on the way through torch's operators: where nothing watches, some of this
    library's go past them.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _Watcher(SchemaCheckMode):
    """Sees every operator before torch takes it apart, as the recorder of `trace` does."""

    def __init__(self, way: Way) -> None:
        TorchDispatchMode.__init__(self, _dispatch_key=torch._C.DispatchKey.PreDispatch)
        self._way = way

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C._DisablePythonDispatcher():
            return self._way(func, args, kwargs or {})
