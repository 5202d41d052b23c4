# SPDX-License-Identifier: Apache-2.0
"""What a model is called with: shapes stand for tensors, everything else for itself."""

from collections.abc import Iterator, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError

Given = tuple[list[Any], dict[str, Any]]


def call_of(model: nn.Module, given: Any, keywords: Mapping[str, Any] | None) -> Given:
    """Positional and keyword inputs: one shape or tensor, or a list of inputs, and more by name.

    In a list and by name a row of whole numbers is a shape, and what is no tensor and no row (a
    flag, a single number, None) goes to the model as it is.

    Raises:
        ArgumentError: if a shape has other numbers than whole ones above 0.
    """
    dtype = _dtype_of(model)
    if _is_row(given) and (not given or not all(map(_is_number, given))):
        args = [_input(item, dtype) for item in given]
    elif isinstance(given, Tensor | np.ndarray | dict) or _is_row(given):
        args = [_input(given, dtype)]
    else:
        raise _no_shape(given)
    return args, {name: _input(value, dtype) for name, value in (keywords or {}).items()}


def _dtype_of(model: nn.Module) -> torch.dtype | None:
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    real = (p.dtype for p in parameters if p.is_floating_point())
    return next(real, next((p.dtype for p in parameters if p.is_complex()), None))


def _input(given: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(given, np.ndarray):
        return torch.from_numpy(given)
    if isinstance(given, dict):
        return {key: _input(value, dtype) for key, value in given.items()}
    if not _is_row(given):
        return given
    if not all(map(_is_number, given)):
        items = [_input(item, dtype) for item in given]
        return tuple(items) if isinstance(given, tuple) else items
    try:
        sizes = tuple(map(index, given))
    except TypeError:
        raise _no_shape(given) from None
    if not sizes or min(sizes) < 1:
        raise _no_shape(given)
    try:
        return torch.empty(sizes, dtype=dtype, device="meta")
    except RuntimeError:  # more bytes than 64 bits can count
        raise _no_shape(given) from None


def _no_shape(given: Any) -> ArgumentError:
    words = repr(given).split("\n")[0]
    return ArgumentError(
        f"analyze: an input is {words:.80}; it must be a shape of whole numbers above 0 and within "
        "memory's addresses, such as (1, 3, 224, 224), batch included, or a tensor."
    )


def _is_row(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float | np.number) and not isinstance(item, bool)


def likely_instead(model: nn.Module, shape: Sequence[int]) -> Iterator[Tensor]:
    """What may have been meant by a shape that the model does not take, the likeliest first."""
    dtype, sizes = _dtype_of(model), tuple(shape)
    weights = [p for p in model.parameters() if p.dim() > 2]
    channels = next(_channels(model), None)
    rank = weights[0].dim() if weights else len(sizes)
    candidates: list[tuple[int, ...]] = []
    if len(sizes) == rank - 1:
        candidates.append((1, *sizes))  # the batch was left out
    if len(sizes) == rank > 2 and channels is not None:
        candidates.append((sizes[0], sizes[-1], *sizes[1:-1]))  # channels last
        candidates.append((sizes[0], channels, *sizes[2:]))
    if rank - 2 <= len(sizes) < rank and channels is not None:
        candidates.append((1, channels, *sizes[2 - rank :]))
    candidates += [(*sizes[:2], *(max(n, size) for n in sizes[2:])) for size in (64, 224)]
    for candidate in dict.fromkeys(candidates):
        if candidate != sizes:
            yield torch.empty(candidate, dtype=dtype, device="meta")
    yield torch.empty(sizes, dtype=torch.long, device="meta")  # numbers of words


def _channels(model: nn.Module) -> Iterator[int]:
    """Of every convolution, the channels it takes."""
    for module in model.modules():
        channels = getattr(module, "in_channels", None)
        if isinstance(channels, int):
            yield channels
