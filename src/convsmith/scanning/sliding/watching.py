# SPDX-License-Identifier: Apache-2.0
"""One call of a network on an image of given sizes: shapes alone, in the order they came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from convsmith.analysis.operators import named, plain_name
from convsmith.capture import module_path, source_line, trace
from convsmith.errors import UnsupportedError


@dataclass(frozen=True, eq=False)
class Watched:
    """One call.

    Attributes:
        sizes: Of the image, along its spatial axes.
        needed: The nodes that the result depends on, in the order they ran.
        steps: Those without slices from the start: where one cuts nothing off, torch leaves it out.
        numbers: The place of each among the steps; a slice has its source's.
        moved: The nodes that depend on the image.
        source, result: The image and the one tensor that comes back.
    """

    sizes: tuple[int, ...]
    needed: tuple[Node, ...]
    steps: tuple[Node, ...]
    numbers: Mapping[Node, int]
    moved: frozenset[Node]
    source: Node
    result: Node

    @property
    def words(self) -> str:
        """The image's sizes, for a message."""
        return " x ".join(map(str, self.sizes))


def watch(network: nn.Module, channels: int, space: Sequence[int], batch: int = 1) -> Watched:
    """Call a network on shapes alone.

    Raises:
        CaptureError: if it does not run on an image of these sizes.
        UnsupportedError: if it returns several tensors, or one that does not depend on the image.
    """
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    image = torch.empty((batch, channels, *space), dtype=dtype, device="meta")
    graph = trace(network, [image]).graph
    source = next(node for node in graph.nodes if node.op == "placeholder")
    moved = _connected([source], lambda node: node.users)
    answer: Any = next(node for node in graph.nodes if node.op == "output").args[0]
    results = [node for node in pytree.tree_leaves(answer) if isinstance(node, Node)]
    if len(results) != 1 or results[0] not in moved:
        raise UnsupportedError(
            f"scan: {type(network).__name__} returns {len(results)} tensors, of which "
            f"{len(moved.intersection(results))} depend on the image; a scan writes one map: wrap "
            "the network in a module that returns it."
        )
    needed = _connected(results, lambda node: node.all_input_nodes)
    steps: list[Node] = []
    numbers: dict[Node, int] = {}
    for node in (node for node in graph.nodes if node in needed):
        if _only_ends_earlier(node):
            numbers[node] = numbers[node.all_input_nodes[0]]
        else:
            numbers[node] = len(steps)
            steps.append(node)
    return Watched(
        sizes=tuple(space),
        needed=tuple(numbers),
        steps=tuple(steps),
        numbers=numbers,
        moved=moved,
        source=source,
        result=results[0],
    )


def place(node: Node) -> str:
    """A node in the user's words: "features.3 (max_pool2d, net.py:41)"."""
    line = source_line(node)
    operator = plain_name(node) + (f", {line}" if ":" in line else "")
    return f"{module_path(node) or 'the model'} ({operator})"


def refusal(node: Node, why: str, remedy: str) -> UnsupportedError:
    """What to raise when an operator keeps a network from sliding."""
    return UnsupportedError(f"scan: {place(node)} {why}; {remedy}.")


def _only_ends_earlier(node: Node) -> bool:
    given = named(node)
    is_slice = plain_name(node) == "slice" and not given["start"] and given["step"] == 1
    return is_slice or plain_name(node) == "alias"


def _connected(start: Iterable[Node], following: Any) -> frozenset[Node]:
    found = set(start)
    queue = list(found)
    while queue:
        more = set(following(queue.pop())) - found
        found |= more
        queue += more
    return frozenset(found)
