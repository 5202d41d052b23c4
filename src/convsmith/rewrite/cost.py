# SPDX-License-Identifier: Apache-2.0
"""What a captured graph costs: multiply-accumulates from shapes, and parameters."""

from collections.abc import Iterable
from math import prod

from torch import nn
from torch.fx import Node

from convsmith.analysis import node_macs as node_macs
from convsmith.capture import Captured
from convsmith.rewrite.certificate import Cost
from convsmith.rewrite.surgery import inputs_of, sizes, stored


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
