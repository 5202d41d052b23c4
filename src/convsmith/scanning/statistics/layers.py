# SPDX-License-Identifier: Apache-2.0
"""The layers that look at the whole map and need no more of it than its moments.

    global average and maximum (squeeze and excite, image pooling)  ->  a constant
    group norm, instance norm                                       ->  batch-norm on constants

A norm over the positions of one image is an inference batch-norm whose running statistics are that
image's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Graph, Node

from convsmith.analysis.operators import sizes
from convsmith.capture import arguments
from convsmith.scanning.statistics.moments import Moments

aten = torch.ops.aten

_AVERAGES = {
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
}
_OVER_AXES = {aten.mean.dim, aten.amax.default}
_MOMENTUM = 0.1  # of the batch-norms put in; inference does not use it


@dataclass(frozen=True)
class Layer:
    """A layer that looks at the whole map.

    `constants` are what it takes of the moments, by name; `write` puts the same layer into the
    graph, on nodes that read those constants.
    """

    node: Node
    constants: Callable[[Moments], dict[str, Tensor]]
    write: Callable[[Graph, dict[str, Node]], Node]

    @property
    def source(self) -> Node:
        """The map that it looks at."""
        return self.node.all_input_nodes[0]


def layer_at(node: Node) -> Layer | None:
    """The layer that a node is; None if it does not look at the whole map, or needs more of it."""
    if node.target in _AVERAGES or node.target in _OVER_AXES:
        return _pool(node) if _is_global(node) else None
    if node.target is aten.group_norm.default:
        return _norm(node, arguments(node)["num_groups"])
    if node.target is aten.instance_norm.default and arguments(node)["use_input_stats"]:
        return _norm(node, sizes(arguments(node)["input"])[1])
    return None


def _is_global(node: Node) -> bool:
    named = arguments(node)
    if node.target in _AVERAGES:
        return all(type(n) is int and n == 1 for n in named["output_size"])
    rank = len(sizes(named["self"]))
    return rank > 2 and sorted(axis % rank for axis in named["dim"]) == list(range(2, rank))


def _pool(node: Node) -> Layer:
    shape = (1, *sizes(node)[1:])

    def constants(moments: Moments) -> dict[str, Tensor]:
        value = moments.largest if node.target is aten.amax.default else moments.mean
        return {"value": value.reshape(shape)}

    def write(graph: Graph, read: dict[str, Node]) -> Node:
        # One row for each of a batch of tiles, as the pool gave.
        batch = graph.call_function(aten.sym_size.int, (node.all_input_nodes[0], 0))
        return graph.call_function(aten.expand.default, (read["value"], [batch, *shape[1:]]))

    return Layer(node, constants, write)


def _norm(node: Node, groups: int) -> Layer:
    repeated = sizes(node)[1] // groups

    def constants(moments: Moments) -> dict[str, Tensor]:
        each = moments.of_groups(groups)
        variance = each.spread / each.count
        return {
            "mean": each.mean.repeat_interleave(repeated),
            "variance": variance.repeat_interleave(repeated),
        }

    def write(graph: Graph, read: dict[str, Node]) -> Node:
        named = arguments(node)
        affine = (named["weight"], named["bias"], read["mean"], read["variance"])
        given = (named["input"], *affine, False, _MOMENTUM, named["eps"], False)
        return graph.call_function(aten.batch_norm.default, given)

    return Layer(node, constants, write)
