# SPDX-License-Identifier: Apache-2.0
"""Does a layer treat every position alike? Decided by trial, not by a list of layers.

On a refined map such a layer must give, at every f-th position, what it gives on every f-th
position alone:  layer(x)[::f] = layer(x[::f]). An activation, an addition, a batch-norm or a
softmax over channels does; a mean over the map, a group norm or a resize does not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from convsmith.capture import Captured, weight_of
from convsmith.rewrite.surgery import same_size

aten = torch.ops.aten

Grid = Callable[[Node], tuple[int, ...]]  # how many times finer each axis of a value becomes


class Trial:
    """Layers run on random numbers, of shapes that are large enough to tell."""

    def __init__(
        self, captured: Captured, shapes: dict[Node, tuple[int, ...]], finer: Grid
    ) -> None:
        self.captured, self.shapes, self.finer = captured, shapes, finer

    def is_alike(self, node: Node) -> bool:
        """Tell whether a node treats every position of a refined map alike."""
        generator = torch.Generator().manual_seed(0)
        full = {n: self._value(n, generator) for n in node.all_input_nodes}
        coarse = {n: self._coarse(node, n, value) for n, value in full.items()}
        try:
            whole, part = (self._run(node, values) for values in (full, coarse))
        except (RuntimeError, ValueError, TypeError):
            return False
        pairs = zip(tree_leaves(whole), tree_leaves(part), strict=True)
        return all(_equal(self._sliced(node, a), b) for a, b in pairs)

    def _run(self, node: Node, values: dict[Node, Any]) -> Any:
        operator: Any = node.target

        def given(n: Node) -> Any:
            return values[n].clone() if isinstance(values[n], Tensor) else values[n]

        with torch.no_grad():
            return operator(*map_arg(node.args, given), **map_arg(node.kwargs, given))

    def _value(self, node: Node, generator: torch.Generator) -> Any:
        stored = weight_of(self.captured, node)
        if stored is not None:
            return stored.detach().cpu().double() if stored.is_floating_point() else stored.cpu()
        made = node.meta.get("val")
        if isinstance(made, tuple | list):
            return type(made)(self._random(node, item, generator) for item in made)
        if isinstance(made, Tensor):
            return self._random(node, made, generator)
        return self._size(node)

    def _random(self, node: Node, like: Any, generator: torch.Generator) -> Any:
        if not isinstance(like, Tensor):
            return like
        shape = self.shapes[node]
        if not like.is_floating_point():
            return torch.zeros(shape, dtype=like.dtype)
        return torch.rand(shape, dtype=torch.float64, generator=generator) + 0.5

    def _coarse(self, reader: Node, node: Node, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(self._sliced(node, item) for item in value)
        if isinstance(value, Tensor):
            return self._sliced(node, value)
        axis = refined_axis(reader, node, self.finer(reader))
        return value if axis is None else -(-value // self.finer(reader)[axis])

    def _sliced(self, node: Node, value: Any) -> Any:
        """Every f-th position; of several results only those as the first is."""
        finer = self.finer(node)
        if not isinstance(value, Tensor) or value.dim() != len(finer):
            return value
        return value[tuple(slice(None, None, f) for f in finer)]

    def _size(self, node: Any) -> Any:
        """A number that the graph computes from the sizes of its inputs."""
        if not isinstance(node, Node):
            return node
        if node.target is aten.sym_size.int:
            source, axis = node.args
            assert isinstance(source, Node)
            assert isinstance(axis, int)
            return self.shapes[source][axis]
        operator: Any = node.target
        return operator(*map(self._size, node.args))


def refined_axis(node: Node, size: Node, finer: Sequence[int]) -> int | None:
    """The refined axis of a node's result whose length on the old grid is this computed size.

    A shape is told as a list; a size that stands by itself is a number like any other.
    """
    made, length = node.meta.get("val"), size.meta.get("val")
    is_told = any(size in given for given in node.args if isinstance(given, list | tuple))
    if not is_told or not isinstance(made, Tensor) or not isinstance(length, int | torch.SymInt):
        return None
    return next(
        (k for k, f in enumerate(finer) if f > 1 and same_size(made.shape[k], length)), None
    )


def _equal(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return bool(a == b)
    # Sums over channels may be taken in another order: float64 leaves 1e-16, a layer that looks
    # around leaves far more.
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-9, equal_nan=True)
