# SPDX-License-Identifier: Apache-2.0
"""Chains of convolutions in a graph: what a planner has written, found and spelt out again."""

import copy
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

from convsmith.capture.graph import Captured
from convsmith.capture.network import Network
from convsmith.native.chains import (
    OPERATORS,
    StageOptions,
    each_bias,
    each_stage,
    has_chains,
    is_chain,
)

aten = torch.ops.aten


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
    for number, node in enumerate(list(graph.nodes)):
        if is_chain(node):
            before = node.prev
            with graph.inserting_before(node):
                result = _operators_of(graph, *node.args)
            while (before := before.next) is not node:
                before.meta["chain"] = number
            result.meta = {**node.meta, **result.meta}
            node.replace_all_uses_with(result)
            graph.erase_node(node)


def _operators_of(
    graph: Graph,
    x: Node,
    weights: list[Node],
    biases: list[Node],
    residual: Node | None,
    has_bias: list[bool],
    *arguments: Any,
) -> Node:
    """What `by_torch` computes, as nodes."""
    *options, _ = arguments
    layers = zip(weights, each_bias(biases, has_bias), each_stage(*options), strict=True)
    for i, (weight, bias, stage) in enumerate(layers):
        own = str(weight.target).rpartition(".")[0]
        around = own.rpartition(".")[0]
        x = _layer(graph, own, x, weight, bias, stage)
        if residual is not None and i == len(weights) - 1:
            x = _from(around, graph.call_function(aten.add.Tensor, (x, residual)))
        if stage.activation != "none":
            x = _from(around, graph.call_function(OPERATORS[stage.activation], (x,)))
    return x


def _layer(
    graph: Graph, own: str, x: Node, weight: Node, bias: Node | None, stage: StageOptions
) -> Node:
    """A linear layer or a convolution, as the weight's axes say."""
    axes = weight.meta["val"].dim() - 2
    if axes == 0:
        return _from(own, graph.call_function(aten.linear.default, (x, weight, bias)))
    top, bottom, left, right = stage.padding
    padding = [top, left]
    if (top, left) != (bottom, right):
        wide = [left, right, top, bottom][: 2 * axes]
        x = _from(own, graph.call_function(aten.pad.default, (x, wide, "constant", None)))
        padding = [0, 0]
    own_axes = (list(stage.stride[-axes:]), padding[-axes:], list(stage.dilation[-axes:]))
    convolve = aten.conv1d.default if axes == 1 else aten.conv2d.default
    arguments = (x, weight, bias, *own_axes, stage.groups)
    return _from(own, graph.call_function(convolve, arguments))


def _from(module: str, node: Node) -> Node:
    """A node with the path of the user's module that it stands for."""
    node.meta["nn_module_stack"] = {module: (module, "")} if module else {}
    return node
