# SPDX-License-Identifier: Apache-2.0
"""The convolutions of a graph, each with the addition and the activation that follow it.

    convolution -> [+ residual] -> [activation]       one place, one stage of a chain

What follows joins the place only if nothing else reads the value before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from convsmith.capture import Captured, arguments, module_path
from convsmith.geometry import Geometry
from convsmith.native.chains import OPERATORS, Stage
from convsmith.rewrite.surgery import same_shape, stored

aten = torch.ops.aten

_CONVOLUTIONS = {aten.conv2d.default, aten.conv2d.padding}
_ACTIVATIONS = {operator: name for name, operator in OPERATORS.items()}


@dataclass(frozen=True, eq=False)
class Place:
    """One convolution, and what is done to its sums.

    Attributes:
        nodes: The convolution first, the node whose value the place gives last.
        stage: Its integers and its activation.
        x: What it reads.
        weight: Its weight's node.
        bias: Its bias's node, or None.
        residual: What is added, or None.
    """

    nodes: tuple[Node, ...]
    stage: Stage
    x: Node
    weight: Node
    bias: Node | None
    residual: Node | None

    @property
    def result(self) -> Node:
        """The node whose value the place gives."""
        return self.nodes[-1]

    @property
    def name(self) -> str:
        """The user's name for the convolution."""
        owner = str(self.weight.target).rpartition(".")[0]
        return module_path(self.nodes[0]) or owner or self.nodes[0].name


def places(captured: Captured) -> list[Place]:
    """Every convolution that a kernel could compute: two axes, float32 on the CPU, stored weights.

    In the order of the graph. No node belongs to two places.
    """
    order = {node: i for i, node in enumerate(captured.graph.nodes)}
    taken: set[Node] = set()
    found = []
    for node in captured.graph.nodes:
        if node.target in _CONVOLUTIONS and _is_plain(captured, node):
            found.append(_place(node, order, taken))
            taken |= set(found[-1].nodes)
    return found


def _is_plain(captured: Captured, node: Node) -> bool:
    named = arguments(node)
    weight = stored(captured, named["weight"])
    has_bias = named["bias"] is not None
    x = named["input"].meta.get("val")
    tensors = [x, weight, *([stored(captured, named["bias"])] if has_bias else [])]
    is_batched = isinstance(x, Tensor) and x.dim() == 4
    return is_batched and all(
        isinstance(t, Tensor) and t.dtype == torch.float32 and t.device.type == "cpu"
        for t in tensors
    )


def _place(node: Node, order: dict[Node, int], taken: set[Node]) -> Place:
    named = arguments(node)
    nodes, residual, activation = [node], None, "none"
    following = _only_reader(node)
    if following is not None and following not in taken:
        added = _added(node, following, order)
        if added is not None:
            nodes, residual = [*nodes, following], added
            following = _only_reader(following)
    kind = activation_of(following) if following is not None else None
    if kind is not None and following is not None:
        nodes, activation = [*nodes, following], kind
    stage = Stage(_geometry(node), activation)
    return Place(tuple(nodes), stage, named["input"], named["weight"], named["bias"], residual)


def _only_reader(node: Node) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _added(node: Node, addition: Node, order: dict[Node, int]) -> Node | None:
    """What else an addition adds to this node, of the same shape; None if it is none."""
    if addition.target is not aten.add.Tensor:
        return None
    named = arguments(addition)
    other = named["other"] if named["self"] is node else named["self"]
    fits = isinstance(other, Node) and other is not node and same_shape(other, node)
    if not fits or named["alpha"] != 1 or other.meta["val"].dtype != torch.float32:
        return None
    return other if order[other] < order[addition] else None


def activation_of(node: Node) -> str | None:
    """The kernels' name of an activation; None if this node is no such activation."""
    if node.target in _ACTIVATIONS:
        return _ACTIVATIONS[node.target]
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        low, high = list(arguments(node).values())[1:3]
        return {(0, 6): "relu6", (0, None): "relu"}.get((low, high))
    return None


def _geometry(node: Node) -> Geometry:
    named = arguments(node)
    weight = named["weight"].meta["val"]
    out_channels, in_channels, *kernel = (int(n) for n in weight.shape)
    pairs = zip(kernel, _two(named["dilation"]), strict=True)
    if named["padding"] == "valid":
        padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))
    elif named["padding"] == "same":  # torch allows it at stride 1 alone: no size comes in
        totals = [(k - 1) * d for k, d in pairs]
        padding = tuple((total // 2, total - total // 2) for total in totals)
    else:
        padding = tuple((p, p) for p in _two(named["padding"]))
    return Geometry(
        in_channels=in_channels * named["groups"],
        out_channels=out_channels,
        kernel_size=tuple(kernel),
        stride=_two(named["stride"]),
        padding=padding,
        dilation=_two(named["dilation"]),
        groups=named["groups"],
    )


def _two(value: list[int]) -> tuple[int, ...]:
    return tuple(value) * (2 // len(value))


def runs(found: list[Place]) -> Iterator[list[Place]]:
    """The places in rows: each reads what the one before gives, and nothing else reads that.

    Only the last of a row may add a residual: kernels add it to a chain's last sum.
    """
    reading = {place.x: place for place in found if len(place.x.users) == 1}
    giving = {place.result: place for place in found}
    for place in found:
        before = giving.get(place.x)
        if before is not None and reading.get(place.x) is place and before.residual is None:
            continue  # in the middle of a row
        row = [place]
        while row[-1].residual is None and row[-1].result in reading:
            row.append(reading[row[-1].result])
        yield row
