# SPDX-License-Identifier: Apache-2.0
"""One pass over a graph that refines every map whose stride is larger than wanted.

A map of stride S gets the stride gcd(S, output stride), whichever way it came about, so that
branches meet on one grid. A layer that treats every position alike stays as it is; one with a
window is refined; any other is given the old grid's positions, and refused where its own result
would have to be refined.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Node
from torch.fx.node import map_arg

from convsmith.capture import Captured, arguments
from convsmith.errors import RewriteError
from convsmith.rewrite.rules.densify.alike import Trial, refined_axis
from convsmith.rewrite.rules.densify.average import AVERAGE_POOLS, average_pool
from convsmith.rewrite.rules.densify.strides import (
    Steps,
    density,
    image_axes,
    shape_of,
    shapes_at,
)
from convsmith.rewrite.rules.densify.windows import (
    END,
    MAX_POOLS,
    PADS,
    convolution,
    max_pool,
    pad,
    subsample,
)
from convsmith.rewrite.surgery import CONVOLUTIONS, place, same_size

aten = torch.ops.aten

_WINDOWS: dict[Any, Callable[["Walk", Node], None]] = {
    **dict.fromkeys(CONVOLUTIONS, convolution),
    **dict.fromkeys(MAX_POOLS, max_pool),
    **dict.fromkeys(AVERAGE_POOLS, average_pool),
    **dict.fromkeys(PADS, pad),
    aten.slice.Tensor: subsample,
}


def refine(
    captured: Captured, steps: Mapping[Node, Steps], output_stride: Mapping[int, int]
) -> None:
    """Refine a network's maps in place, to a stride for each axis of the image; `Captured.refresh`
    is left to the caller.

    Raises:
        RewriteError: if a layer would have to be refined that cannot be, naming it.
    """
    walk = Walk(captured, steps, output_stride)
    for node in list(captured.module.graph.nodes):
        walk.visit(node)


class Walk:
    """The graph on its way: how much finer each value is, and shapes of what has changed."""

    def __init__(
        self, captured: Captured, steps: Mapping[Node, Steps], output_stride: Mapping[int, int]
    ) -> None:
        self.captured, self.steps = captured, dict(steps)
        self._finer = {n: density(s, output_stride) for n, s in steps.items()}
        coarsest = max((int(s.stride) for all_ in steps.values() for s in all_ if s), default=1)
        larger = dict.fromkeys(image_axes(captured), 4 * coarsest)
        self._trial = Trial(captured, shapes_at(captured, larger), self.finer)
        self._old_shape = {n: shape_of(n.meta.get("val")) for n in captured.module.graph.nodes}
        self._refined: list[Node] = []
        self._changed: set[Node] = set()
        self._old_grid: dict[Node, Node] = {}
        inputs = [n for n in captured.module.graph.nodes if n.op == "placeholder"]
        self._mode: Any = detect_fake_mode([n.meta["val"] for n in inputs])

    def finer(self, node: Node) -> tuple[int, ...]:
        """How many times finer each axis of a value becomes."""
        return self._finer.get(node, ())

    def visit(self, node: Node) -> None:
        if node.op != "call_function":
            return
        is_refined = any(f > 1 for f in self.finer(node))
        dense = [n for n in node.all_input_nodes if any(f > 1 for f in self.finer(n))]
        if isinstance(node.meta.get("val"), Tensor | tuple | list) and (is_refined or dense):
            self._refine(node, dense, is_refined=is_refined)
        if not node._erased and not self._changed.isdisjoint(node.all_input_nodes):
            self._measure(node)
        if is_refined and not node._erased:
            self._refined.append(node)

    def _refine(self, node: Node, dense: Sequence[Node], *, is_refined: bool) -> None:
        window = _WINDOWS.get(node.target)
        if window is subsample and not self._slides(node):
            window = None
        if window is not None and is_refined:
            self._changed.add(node)
            window(self, node)
            if not node._erased:
                self._measure(node)
        elif self._trial.is_alike(node):
            self._refuse_indices(node)
            self._restate_sizes(node)
            self._meet(node, dense)
        elif is_refined:
            raise self.refusal(node, "has no counterpart on a finer grid")
        else:
            for source in dense:
                self._take_back(node, source)

    def _slides(self, node: Node) -> bool:
        """Tell whether a slice is along an axis that is refined."""
        return self.finer(node)[arguments(node)["dim"]] > 1

    def _refuse_indices(self, node: Node) -> None:
        source = node.all_input_nodes[0]
        if node.target is getitem and source.target in MAX_POOLS and node.args[1] == 1:
            raise self.refusal(node, "takes the indices of a pooling, which count on the old grid")

    def _restate_sizes(self, node: Node) -> None:
        """Tell a layer that is given the size of its result, such as a view, the finer size."""
        for size in list(node.all_input_nodes):
            axis = refined_axis(node, size, self.finer(node))
            if axis is not None:
                source, k = self._as_long_as(node, axis)
                longer = self.insert(aten.sym_size.int, (source, k), at=node)
                node.replace_input_with(size, longer)

    def _as_long_as(self, node: Node, axis: int) -> tuple[Node, int]:
        """A refined value, and its axis, that has on the old grid the length of this one's axis."""
        length, step = self._old_shape[node][axis], self.steps[node][axis]
        for source in (*node.all_input_nodes, *reversed(self._refined)):
            for k, other in enumerate(self.steps.get(source, ())):
                if other == step and same_size(self._old_shape[source][k], length):
                    return source, k
        raise self.refusal(node, "has no counterpart on a finer grid")

    def _meet(self, node: Node, dense: Sequence[Node]) -> None:
        """Crop maps that a layer joins to the smallest: on the old grid they are of one size."""
        if len(dense) < 2:
            return
        rank = len(self.finer(dense[0]))
        for axis in range(rank):
            readers = [n for n in dense if len(self.finer(n)) == rank and self.finer(n)[axis] > 1]
            lengths = [n.meta["val"].shape[axis] for n in readers]
            if all(same_size(lengths[0], length) for length in lengths[1:]):
                continue
            named = [self.insert(aten.sym_size.int, (n, axis), at=node) for n in readers]
            least = reduce(lambda a, b: self.insert(torch.sym_min, (a, b), at=node), named)
            for n in readers:
                cut = self.insert(aten.slice.Tensor, (n, axis, 0, least, 1), at=node)
                self.stands_for(cut, n)
                node.replace_input_with(n, cut)
            dense = [n for n in node.all_input_nodes if any(f > 1 for f in self.finer(n))]

    def _take_back(self, node: Node, source: Node) -> None:
        """Let a layer read every f-th position of a map: the old grid's. Sizes in the graph are
        computed from the image's, and are the old grid's already."""
        if source not in self._old_grid:
            kept = source
            for axis, f in enumerate(self.finer(source)):
                if f > 1:
                    kept = self.insert(aten.slice.Tensor, (kept, axis, 0, END, f), at=node)
            self._old_grid[source] = kept
        old = self._old_grid[source]
        node.replace_input_with(source, old)
        self._changed.add(old)

    def pad(self, image: Node, amounts: list[int], value: float, *, at: Node) -> Node:
        """Insert padding in front of a window; none where there is nothing to pad."""
        if not any(amounts):
            return image
        return self.insert(aten.constant_pad_nd.default, (image, amounts, value), at=at)

    def insert(self, target: Any, args: tuple[Any, ...], *, at: Node) -> Node:
        """Insert a call before `at`, with the place of `at` and its own shape."""
        with self.captured.module.graph.inserting_before(at):
            node = self.captured.module.graph.call_function(target, args)
        node.meta = {key: value for key, value in at.meta.items() if key != "val"}
        self._measure(node)
        return node

    def stands_for(self, new: Node, old: Node) -> None:
        """Note that a node gives another one's value on the same grid."""
        self.steps[new], self._finer[new] = self.steps[old], self._finer[old]
        self._old_shape[new] = self._old_shape[old]
        self._trial.shapes[new] = self._trial.shapes[old]
        self._refined.append(new)

    def _measure(self, node: Node) -> None:
        """Note the shape that a new or changed node gives."""

        def fake(n: Node) -> Any:
            value = n.meta["val"]
            is_real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
            return self._mode.from_tensor(value, static_shapes=True) if is_real else value

        target: Any = node.target
        with self._mode, enable_python_dispatcher(), torch.no_grad():
            node.meta["val"] = target(*map_arg(node.args, fake), **map_arg(node.kwargs, fake))
        self._changed.add(node)

    def refusal(self, node: Node, why: str) -> RewriteError:
        """The error for a layer that cannot be refined."""
        grids = " and ".join(
            f"{self.finer(n)} times finer" for n in (*node.all_input_nodes[:1], node)
        )
        return RewriteError(
            f"densify: {place(node)} ({node.target}) {why}; it would turn a map {grids}; choose an "
            f"output_stride that leaves it alone, or give the part of the network before it."
        )
