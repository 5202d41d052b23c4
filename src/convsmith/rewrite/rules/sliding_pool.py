# SPDX-License-Identifier: Apache-2.0
"""Turn a pooling head into a sliding one: the same numbers at the native size, a map on larger
images.

    mean over the map, adaptive average pool to 1x1   ->  average pool, kernel n x n, stride 1
    adaptive average pool to a x a, a divides n       ->  average pool, kernel = stride = n / a
    maximum over the map, adaptive max pool           ->  max pool, likewise
    average or max pool whose kernel is the map       ->  the same pool, stride 1

n is the native size of the map; each axis is decided alone, and one pooled to 1 moves by 1. A pool
whose result meets a map again (squeeze and excite, image pooling) is a gate, no head: it goes on
looking at the whole image.
"""

from operator import getitem
from typing import Any

import torch
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.errors import RewriteError
from convsmith.rewrite.surgery import place, sizes

aten = torch.ops.aten

AVERAGE = {1: aten.avg_pool1d.default, 2: aten.avg_pool2d.default, 3: aten.avg_pool3d.default}
_MAXIMUM = {1: aten.max_pool1d.default, 2: aten.max_pool2d.default, 3: aten.max_pool3d.default}
_ADAPTIVE = {
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
}
_ADAPTIVE_MAXIMUM = {
    aten.adaptive_max_pool1d.default,
    aten.adaptive_max_pool2d.default,
    aten.adaptive_max_pool3d.default,
}
_WINDOWED = {*AVERAGE.values(), *_MAXIMUM.values()}
_OVER_AXES = {aten.mean.dim: AVERAGE, aten.amax.default: _MAXIMUM}


def is_pool(node: Node) -> bool:
    """Tell whether a node summarises space in a way that depends on the size of the map.

    Of an adaptive max pool, which gives maxima and indices, it is the node that takes one of them.
    """
    if node.target in _ADAPTIVE or takes_maximum(node):
        return True
    if node.target in _WINDOWED:
        return _covers_map(node)
    if node.target not in _OVER_AXES:
        return False
    rank, dims = len(sizes(node.all_input_nodes[0])), arguments(node)["dim"]
    return rank > 2 and sorted(d % rank for d in dims) in (
        list(range(2, rank)),
        list(range(1, rank - 1)),
    )


def takes_maximum(node: Node) -> bool:
    """Tell whether a node takes the maxima, or their indices, out of an adaptive max pool."""
    return node.target is getitem and node.all_input_nodes[0].target in _ADAPTIVE_MAXIMUM


def is_gate(node: Node) -> bool:
    """Tell whether what comes from a node meets a map again that does not come from it."""
    behind, queue = {node}, [node]
    while queue:
        for user in queue.pop().users:
            if user.op != "output" and user not in behind:
                behind.add(user)
                queue.append(user)
    others = {source for n in behind - {node} for source in n.all_input_nodes} - behind
    return any(source.op != "get_attr" and _is_map(source) for source in others)


def slide(captured: Captured, pool: Node, image: Node) -> Node:
    """Insert the sliding form of a pool over `image`, a (N, C, *space) map, and return its node."""
    native = sizes(image)[2:]
    target, kernel, stride = _window(pool, native)
    if all(k == 1 for k in kernel):
        return image
    rank = len(native)
    zeros, ones = [0] * rank, [1] * rank
    if target is _MAXIMUM[rank]:
        window: tuple[Any, ...] = (kernel, stride, zeros, ones, False)
    elif rank == 1:
        window = (kernel, stride, zeros, False, True)
    else:
        window = (kernel, stride, zeros, False, True, None)
    with captured.module.graph.inserting_before(pool):
        node = captured.module.graph.call_function(target, (image, *window))
    node.meta = dict(pool.meta) | {"val": target(torch.empty(sizes(image), device="meta"), *window)}
    return node


def _window(pool: Node, native: tuple[int, ...]) -> tuple[Any, list[int], list[int]]:
    rank = len(native)
    if pool.target in _OVER_AXES:
        return _OVER_AXES[pool.target][rank], list(native), [1] * rank
    if pool.target in _WINDOWED:
        return pool.target, list(native), [1] * rank
    wanted = sizes(pool)[2:]
    if any(n % a for n, a in zip(native, wanted, strict=True)):
        raise RewriteError(
            f"to_fully_convolutional: {place(pool)} pools a map of {native} to {wanted}; windows "
            f"that slide are of one size, so each must divide; choose an example where they do."
        )
    kernel = [n // a for n, a in zip(native, wanted, strict=True)]
    stride = [1 if a == 1 else k for k, a in zip(kernel, wanted, strict=True)]
    return (_MAXIMUM if takes_maximum(pool) else AVERAGE)[rank], kernel, stride


def _covers_map(pool: Node) -> bool:
    """Tell whether a pool with a kernel sees its whole native map at once and nothing else."""
    named, native = arguments(pool), sizes(pool.all_input_nodes[0])[2:]
    kernel = [k if isinstance(k, int) else _number(k) for k in named["kernel_size"]]
    kernel = kernel * (len(native) if len(kernel) == 1 else 1)
    is_plain = not any(named["padding"]) and named.get("divisor_override") is None
    is_plain = is_plain and all(d == 1 for d in named.get("dilation", ()))
    return is_plain and tuple(kernel) == native and any(k > 1 for k in native)


def _number(value: Any) -> int:
    """Return a size computed in the graph (`x.size(2)`) as it was in the example."""
    number = value.meta["val"] if isinstance(value, Node) else value
    return number if isinstance(number, int) else int(number.node.hint)


def _is_map(node: Node) -> bool:
    shape = sizes(node)
    return len(shape) > 2 and any(size > 1 for size in shape[2:])
