# SPDX-License-Identifier: Apache-2.0
"""The convolutions and linear layers of a graph, with the addition and activation that follow each.

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
from convsmith.native.chains import OPERATORS, Stage, image_shape
from convsmith.rewrite.surgery import same_shape, stored

aten = torch.ops.aten

_LAYERS = {
    *(aten.conv2d.default, aten.conv2d.padding, aten.conv1d.default, aten.conv1d.padding),
    aten.linear.default,
}
_ACTIVATIONS = {operator: name for name, operator in OPERATORS.items()}


@dataclass(frozen=True, eq=False)
class Place:
    """One convolution or linear layer, and what is done to its sums.

    Attributes:
        nodes: The layer first, the node whose value the place gives last.
        stage: Its integers, as of images, and its activation.
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
    def axes(self) -> int:
        """Spatial axes of the layer itself; 0 of a linear one."""
        return int(self.weight.meta["val"].dim()) - 2

    @property
    def name(self) -> str:
        """The user's name for the layer."""
        owner = str(self.weight.target).rpartition(".")[0]
        return module_path(self.nodes[0]) or owner or self.nodes[0].name


def places(captured: Captured) -> list[Place]:
    """Every layer that a kernel could compute: up to two axes, float32 on the CPU, stored weights.

    In the order of the graph. No node belongs to two places. A linear layer is one over rows.
    """
    order = {node: i for i, node in enumerate(captured.graph.nodes)}
    taken: set[Node] = set()
    found = []
    for node in captured.graph.nodes:
        if node.target in _LAYERS and _is_plain(captured, node):
            found.append(_place(node, order, taken))
            taken |= set(found[-1].nodes)
    return found


def _is_plain(captured: Captured, node: Node) -> bool:
    named = arguments(node)
    x, weight = named["input"].meta.get("val"), stored(captured, named["weight"])
    if not isinstance(x, Tensor) or weight is None or x.dim() != weight.dim():
        return False  # no batch, or a linear layer over more than rows
    tensors: list[Tensor | None] = [x, weight]
    if named["bias"] is not None:
        tensors.append(stored(captured, named["bias"]))
    return all(
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
    out_channels, in_channels, *kernel = (int(n) for n in image_shape(weight.shape))
    if node.target is aten.linear.default:
        return Geometry(in_channels=in_channels, out_channels=out_channels, kernel_size=(1, 1))
    axes = weight.dim() - 2
    dilation = _two(named["dilation"], axes, 1)
    pairs = zip(kernel, dilation, strict=True)
    if named["padding"] == "valid":
        padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))
    elif named["padding"] == "same":  # torch allows it at stride 1 alone: no size comes in
        totals = [(k - 1) * d for k, d in pairs]
        padding = tuple((total // 2, total - total // 2) for total in totals)
    else:
        padding = tuple((p, p) for p in _two(named["padding"], axes, 0))
    return Geometry(
        in_channels=in_channels * named["groups"],
        out_channels=out_channels,
        kernel_size=tuple(kernel),
        stride=_two(named["stride"], axes, 1),
        padding=padding,
        dilation=dilation,
        groups=named["groups"],
    )


def _two(value: list[int], axes: int, missing: int) -> tuple[int, ...]:
    """A layer's numbers for two axes: torch may give one for all, and one axis is an image's last.

    >>> _two([3], 2, 1), _two([3], 1, 1), _two([3, 4], 2, 1)
    ((3, 3), (1, 3), (3, 4))
    """
    return (missing,) * (2 - axes) + tuple(value) * (axes // len(value))


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
