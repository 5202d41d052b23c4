# SPDX-License-Identifier: Apache-2.0
"""Operators between convolutions that a program can take along: pooling, addition, concatenation,
slices of images and channels of zeros.

What a node computes is read from the graph alone; whether it can be computed at the sizes of a
call, the program says (`Program.serves`).
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from convsmith.capture.nodes import arguments
from convsmith.geometry import PoolingGeometry
from convsmith.native.chains import Add, Concat, Pool, Step, Subsample

aten = torch.ops.aten

_MAP = ([2, 3], [-2, -1], [3, 2], [-1, -2])


def pass_of(node: Node, numbers: Mapping[Node, int]) -> Step | None:
    """The step that computes a node of values with these numbers; None if there is none."""
    make = _MAKERS.get(node.target) if node.op == "call_function" else None
    return None if make is None else make(arguments(node), numbers)


def can_join(node: Node, run: Container[Node], tensors: Mapping[Node, int]) -> bool:
    """Whether there is a step for a node right behind a run, where these nodes are tensors."""
    if pass_of(node, tensors) is None:
        return False
    return node.target not in _TAKE_UP or node.all_input_nodes[0] in run


def is_swallowed(node: Node, run: Container[Node], numbers: Mapping[Node, int]) -> bool:
    """Whether the step of the node's only user, in the same run, computes its formula, too."""
    users = list(node.users)
    if len(users) != 1 or users[0] not in run:
        return False
    return users[0].target in _TAKE_UP and pass_of(users[0], numbers) is not None


def without_views_behind(run: Sequence[Node]) -> list[Node]:
    """A run without the slices that end it: torch makes them without a copy."""
    behind = len(run)
    while behind and run[behind - 1].target is aten.slice.Tensor:
        behind -= 1
    return list(run[:behind])


def _max(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    return _windows(given, numbers, "max")


def _mean(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    if given["divisor_override"] is not None:
        return None
    kind = "mean with padding" if given["count_include_pad"] else "mean"
    return _windows(given, numbers, kind)


def _windows(given: dict[str, Any], numbers: Mapping[Node, int], kind: str) -> Step | None:
    kernel = _pair(given["kernel_size"])
    stride = _pair(given["stride"]) or kernel
    padding, dilation = _pair(given["padding"]), _pair(given.get("dilation", 1))
    integers = (*kernel, *stride, *padding, *dilation)
    if len(integers) != 8 or not all(type(n) is int for n in integers):
        return None
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)) or not all(stride + kernel):
        return None  # torch refuses it
    geometry = PoolingGeometry(
        kernel_size=kernel,
        stride=stride,
        padding=tuple((p, p) for p in padding),
        dilation=dilation,
        ceil_mode=given["ceil_mode"],
    )
    return Pool(numbers[given["self"]], kind, geometry)


def _pair(given: Any) -> tuple[Any, ...]:
    """Of a number, of a list of one or two; () stays."""
    values = tuple(given) if isinstance(given, Sequence) else (given,)
    return values * 2 if len(values) == 1 else values


def _adaptive(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    return Pool(numbers[given["self"]], "mean") if list(given["output_size"]) == [1, 1] else None


def _over_map(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    if given["dim"] is None or list(given["dim"]) not in _MAP or given["dtype"] is not None:
        return None
    return Pool(numbers[given["self"]], "mean", flat=not given["keepdim"])


def _flat(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    """(N, C, 1, 1), the mean of the whole map, without its spatial axes."""
    pooled = given["self"]
    if given["start_dim"] != 1 or given["end_dim"] not in (-1, 3):
        return None
    found = pass_of(pooled, numbers) if isinstance(pooled, Node) else None
    is_whole = isinstance(found, Pool) and found.geometry is None and not found.flat
    return found._replace(flat=True) if isinstance(found, Pool) and is_whole else None


def _add(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    a, b = given["self"], given["other"]
    if not isinstance(a, Node) or not isinstance(b, Node) or given["alpha"] != 1:
        return None
    return Add(numbers[a], numbers[b]) if a in numbers and b in numbers else None


def _relu(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    """Behind an addition."""
    found = pass_of(given["self"], numbers)
    return found._replace(activation="relu") if isinstance(found, Add) else None


def _concat(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    parts = given["tensors"]
    if given["dim"] != 1 or not parts or not all(part in numbers for part in parts):
        return None
    return Concat(tuple(numbers[part] for part in parts))


def _slice(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    """Of rows, of columns, or of all that there is."""
    found, axis = _subsampled(given["self"], numbers), given["dim"]
    start, end = given["start"] or 0, _BEYOND if given["end"] is None else given["end"]
    integers = (axis, start, end, given["step"])
    if found is None or not all(type(n) is int for n in integers) or given["step"] < 1:
        return None
    kept = slice(start, end, given["step"])
    if axis in (2, -2):
        return found._replace(rows_kept=(*found.rows_kept, kept))
    if axis in (3, -1):
        return found._replace(columns_kept=(*found.columns_kept, kept))
    return found if kept == slice(0, _BEYOND, 1) else None


def _pad(given: dict[str, Any], numbers: Mapping[Node, int]) -> Step | None:
    """Channels of zeros."""
    found, widths = _subsampled(given["self"], numbers), list(given["pad"])
    if found is None or given.get("mode", "constant") != "constant":
        return None
    if len(widths) != 6 or not all(type(width) is int and width >= 0 for width in widths):
        return None
    if any(widths[:4]) or given["value"] not in (None, 0):
        return None
    before, after = widths[4:]
    return found._replace(before=before + found.before, after=found.after + after)


def _subsampled(value: Node, numbers: Mapping[Node, int]) -> Subsample | None:
    """A value as it is, or as the slices and zeros before it make it."""
    found = Subsample(numbers[value]) if value in numbers else pass_of(value, numbers)
    return found if isinstance(found, Subsample) else None


# Where torch ends a slice that has no end.
_BEYOND = 2**63 - 1

# Steps that compute the formula of the node before, too.
_TAKE_UP = (
    *(aten.flatten.using_ints, aten.relu.default),
    *(aten.slice.Tensor, aten.pad.default, aten.constant_pad_nd.default),
)

_MAKERS: dict[Any, Callable[[dict[str, Any], Mapping[Node, int]], Step | None]] = {
    aten.max_pool2d.default: _max,
    aten.avg_pool2d.default: _mean,
    aten.adaptive_avg_pool2d.default: _adaptive,
    aten.mean.dim: _over_map,
    aten.flatten.using_ints: _flat,
    aten.add.Tensor: _add,
    aten.relu.default: _relu,
    aten.cat.default: _concat,
    aten.slice.Tensor: _slice,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
}
