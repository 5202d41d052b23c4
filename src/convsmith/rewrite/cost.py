# SPDX-License-Identifier: Apache-2.0
"""What a captured graph costs: multiply-accumulates from shapes, and parameters."""

from collections.abc import Iterable
from math import prod

import torch
from torch import nn
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.rewrite.certificate import Cost
from convsmith.rewrite.surgery import CONVOLUTIONS, TRANSPOSED, inputs_of, sizes, stored

aten = torch.ops.aten
_PRODUCTS = {
    aten.matmul.default,
    aten.bmm.default,
    aten.mm.default,
    aten.mv.default,
    aten.dot.default,
}


def node_macs(node: Node) -> int:
    """Count the multiply-accumulates of one node at the example's size, every tap counted.

    convolution: outputs * (I / groups) * taps; transposed: inputs * (O / groups) * taps; linear:
    outputs * inputs per output; matrix product: outputs * inner length; attention: both of its
    products. Everything else counts as 0.
    """
    if node.op != "call_function":
        return 0
    if node.target in CONVOLUTIONS:
        return prod(sizes(node)) * prod(sizes(arguments(node)["weight"])[1:])
    if node.target in TRANSPOSED:
        named = arguments(node)
        return prod(sizes(named["input"])) * prod(sizes(named["weight"])[1:])
    if node.target is aten.linear.default:
        return prod(sizes(node)) * sizes(arguments(node)["weight"])[-1]
    if node.target in _PRODUCTS:
        return prod(sizes(node)) * sizes(node.args[0])[-1]  # type: ignore[arg-type]
    if node.target in (aten.addmm.default, aten.baddbmm.default):
        return prod(sizes(node)) * sizes(node.args[1])[-1]  # type: ignore[arg-type]
    if node.target is aten.scaled_dot_product_attention.default:
        named = arguments(node)
        scores = prod(sizes(named["query"])[:-1]) * sizes(named["key"])[-2]
        return scores * (sizes(named["query"])[-1] + sizes(named["value"])[-1])
    return 0


def terms(node: Node) -> int:
    """Count the roundings behind one output element of a node: the products it sums, and 1."""
    macs = node_macs(node)
    return 1 + macs // max(1, prod(sizes(node)))


def cost(captured: Captured, nodes: Iterable[Node] | None = None) -> Cost:
    """Sum MACs and parameters over some nodes, or over the whole graph."""
    chosen = list(captured.module.graph.nodes if nodes is None else nodes)
    tensors = (stored(captured, node) for node in inputs_of(chosen))
    distinct = {id(t): t for t in tensors if isinstance(t, nn.Parameter)}
    return Cost(
        macs=sum(map(node_macs, chosen)), parameters=sum(t.numel() for t in distinct.values())
    )
