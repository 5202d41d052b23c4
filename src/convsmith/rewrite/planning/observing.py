# SPDX-License-Identifier: Apache-2.0
"""Run a captured network once, node by node, and look at what its convolutions read."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from convsmith.capture import Captured
from convsmith.native.layout import is_channels_last
from convsmith.rewrite.inputs import Inputs

# (a node that runs next, what a node that has run gave)
Look = Callable[[fx.Node, Callable[[fx.Node], Any]], None]


class _Observer(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, look: Look) -> None:
        super().__init__(module)
        self.look = look

    def run_node(self, n: fx.Node) -> Any:
        self.look(n, self.env.__getitem__)
        return super().run_node(n)


def observe(captured: Captured, inputs: Inputs, look: Look) -> None:
    """Call `look` before each node runs on these inputs."""
    leaves = captured.module._leaves(inputs.args, inputs.kwargs)
    with torch.no_grad():
        _Observer(captured.module, look).run(*leaves, enable_io_processing=False)


def layout_changes(captured: Captured, inputs: Inputs) -> int:
    """How many images change their memory order inside a node on the way through the network.

    One pixel or one channel has no order. The network's own inputs count: a contiguous image read
    by a kernel that gives channels last is one change.
    """
    changes = 0
    orders: dict[fx.Node, bool | None] = {}

    def look(node: fx.Node, value: Callable[[fx.Node], Any]) -> None:
        for read in node.all_input_nodes:
            if read not in orders:
                orders[read] = _order(value(read), read)

    observe(captured, inputs, look)
    for node in captured.graph.nodes:
        read = {orders.get(n) for n in node.all_input_nodes} - {None}
        if orders.get(node) is not None and read and orders[node] not in read:
            changes += 1
    return changes


def _order(value: Any, node: fx.Node) -> bool | None:
    """Whether an image lies in channels last; None for what is no image or has no order."""
    if node.op == "get_attr" or not isinstance(value, Tensor) or value.dim() != 4:
        return None
    if value.shape[1] == 1 or value.shape[2] * value.shape[3] <= 1:
        return None
    return is_channels_last(value)
