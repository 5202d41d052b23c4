# SPDX-License-Identifier: Apache-2.0
"""What a captured graph costs: multiply-accumulates from shapes, and parameters.

Operators of the library itself state their cost where they are defined, in torch's registry of
flops, two for each multiply-add; no family is named here.
"""

from collections.abc import Iterable
from math import prod

import torch
from torch import nn
from torch.fx import Node, map_arg
from torch.utils.flop_counter import flop_registry

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
    """Count the multiply-accumulates of one node as executed, at the example's size, every tap.

    As executed: a weight that holds zeros, such as a connection table's, costs what a dense one
    does.

    convolution: outputs * (I / groups) * taps; transposed: inputs * (O / groups) * taps; linear:
    outputs * inputs per output; matrix product: outputs * inner length; attention: both of its
    products; an operator of this library: what it registered. Everything else counts as 0.
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
    if getattr(node.target, "namespace", None) == "convsmith":
        return _registered_macs(node)
    return 0


def _registered_macs(node: Node) -> int:
    """Return half of the flops that an operator registered for the shapes of its tensors."""
    flops = flop_registry.get(node.target.overloadpacket)  # type: ignore[union-attr]
    if flops is None:
        return 0
    given = map_arg(node.args, lambda n: torch.empty(sizes(n), device="meta"))
    return int(flops(*given, out_val=torch.empty(sizes(node), device="meta"))) // 2


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
