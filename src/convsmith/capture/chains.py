# SPDX-License-Identifier: Apache-2.0
"""Chains of convolutions in a graph: what a planner has written, found and spelt out again."""

import copy
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from convsmith.capture.graph import Captured
from convsmith.capture.network import Network
from convsmith.native.chains import each_bias, has_chains, is_chain

aten = torch.ops.aten

_ACTIVATIONS: dict[str, Any] = {
    "relu": aten.relu.default,
    "relu6": aten.relu6.default,
    "hard_swish": aten.hardswish.default,
    "silu": aten.silu.default,
}


def spell_out(captured: Captured) -> None:
    """Turn every written chain back into torch's own operators; refreshes the graph."""
    if has_chains(captured.graph):
        _spell_out(captured.graph)
        captured.refresh()


def spelt_out(model: nn.Module) -> nn.Module:
    """A planned network as a copy in torch's own operators; any other model itself."""
    if not isinstance(model, Network) or not has_chains(model.graph):
        return model
    twin = copy.deepcopy(model)
    _spell_out(twin.graph)
    twin.recompile()
    return twin


def _spell_out(graph: Graph) -> None:
    for node in list(graph.nodes):
        if is_chain(node):
            with graph.inserting_before(node):
                result = _operators_of(graph, *node.args)
            result.meta = dict(node.meta)
            node.replace_all_uses_with(result)
            graph.erase_node(node)


def _operators_of(
    graph: Graph,
    x: Node,
    weights: list[Node],
    biases: list[Node],
    residual: Node | None,
    has_bias: list[bool],
    strides: list[int],
    paddings: list[int],
    dilations: list[int],
    groups: list[int],
    activations: list[str],
    kernel: str,
) -> Node:
    for i, (weight, bias) in enumerate(zip(weights, each_bias(biases, has_bias), strict=True)):
        top, bottom, left, right = paddings[4 * i : 4 * i + 4]
        padding = [top, left]
        if (top, left) != (bottom, right):
            x = graph.call_function(
                aten.pad.default, (x, [left, right, top, bottom], "constant", None)
            )
            padding = [0, 0]
        two = slice(2 * i, 2 * i + 2)
        options = (list(strides[two]), padding, list(dilations[two]), groups[i])
        x = graph.call_function(aten.conv2d.default, (x, weight, bias, *options))
        if residual is not None and i == len(weights) - 1:
            x = graph.call_function(aten.add.Tensor, (x, residual))
        if activations[i] != "none":
            x = graph.call_function(_ACTIVATIONS[activations[i]], (x,))
    return x
